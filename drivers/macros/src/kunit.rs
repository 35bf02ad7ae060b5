//! `#[kunit_tests]`: lets a module of KUnit tests run as ordinary tests of the host.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{parse_quote, Error, Ident, Item, ItemMod, Result};

/// The longest suite name KUnit takes, in bytes.
const MAX_SUITE_NAME: usize = 255;

/// Gates `module` on `cfg(test)` and gives its tests KUnit's `assert!` and `assert_eq!`.
pub(crate) fn kunit_tests(suite: &Ident, mut module: ItemMod) -> Result<TokenStream> {
    if suite.to_string().len() > MAX_SUITE_NAME {
        let complaint = format!("a suite name has at most {MAX_SUITE_NAME} bytes");
        return Err(Error::new(suite.span(), complaint));
    }
    let Some((_, items)) = &mut module.content else {
        return Err(Error::new_spanned(module, "`#[kunit_tests(suite)]` goes on a module with a body"));
    };

    // Like in Linux, what stands before the first test still sees the standard assertions.
    let first_test = items.iter().position(is_test).unwrap_or(items.len());
    items.splice(first_test..first_test, assertions());
    module.attrs.insert(0, parse_quote!(#[cfg(test)]));
    Ok(module.into_token_stream())
}

fn is_test(item: &Item) -> bool {
    matches!(item, Item::Fn(function) if function.attrs.iter().any(|attr| attr.path().is_ident("test")))
}

/// Assertions as narrow as KUnit's: no message, and nothing but `bool` and `==` asked of the operands.
fn assertions() -> [Item; 2] {
    let assert = parse_quote! {
        #[allow(unused_macros, reason = "not every suite uses every assertion")]
        macro_rules! assert {
            ($condition:expr $(,)?) => {
                ::core::assert!($condition)
            };
        }
    };
    let assert_eq = parse_quote! {
        #[allow(unused_macros, reason = "not every suite uses every assertion")]
        macro_rules! assert_eq {
            ($left:expr, $right:expr $(,)?) => {
                ::core::assert!($left == $right)
            };
        }
    };
    [assert, assert_eq]
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::format_ident;

    fn item_names(tokens: TokenStream) -> Vec<String> {
        let module: ItemMod = syn::parse2(tokens).expect("a module");
        let (_, items) = module.content.expect("a body");
        let name = |item: Item| match item {
            Item::Fn(function) => function.sig.ident.to_string(),
            Item::Macro(definition) => definition.ident.expect("a name").to_string(),
            _ => "other".to_owned(),
        };
        items.into_iter().map(name).collect()
    }

    #[test]
    fn assertions_stand_before_the_first_test() {
        let module = parse_quote! {
            mod tests {
                use super::*;
                fn arrange() {}
                #[test]
                fn first() {}
                #[test]
                fn second() -> Result { Ok(()) }
            }
        };

        let expansion = kunit_tests(&format_ident!("suite"), module).expect("expands");

        assert_eq!(item_names(expansion), ["other", "arrange", "assert", "assert_eq", "first", "second"]);
    }

    #[test]
    fn module_is_for_test_builds_only() {
        let module = parse_quote! { #[allow(dead_code)] mod tests {} };

        let expansion = kunit_tests(&format_ident!("suite"), module).expect("expands");

        assert!(expansion.to_string().starts_with("# [cfg (test)]"), "{expansion}");
    }

    #[test]
    fn module_in_another_file_is_refused() {
        let error = kunit_tests(&format_ident!("suite"), parse_quote! { mod tests; }).unwrap_err();

        assert_eq!(error.to_string(), "`#[kunit_tests(suite)]` goes on a module with a body");
    }

    #[test]
    fn suite_name_longer_than_kunit_takes_is_refused() {
        let longest = format_ident!("{}", "s".repeat(255));
        let too_long = format_ident!("{}", "s".repeat(256));

        let accepted = kunit_tests(&longest, parse_quote! { mod tests {} });
        let refused = kunit_tests(&too_long, parse_quote! { mod tests {} });

        assert!(accepted.is_ok());
        assert_eq!(refused.unwrap_err().to_string(), "a suite name has at most 255 bytes");
    }
}
