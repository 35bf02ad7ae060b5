//! `#[export]`: accepts only functions that C could call, and leaves them as they are.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Abi, Error, GenericParam, ItemFn, Result};

/// Checks that `function` could be called from C.
pub(crate) fn export(function: &ItemFn) -> Result<TokenStream> {
    let sig = &function.sig;

    if !sig.abi.as_ref().is_some_and(is_c_abi) {
        return Err(Error::new(sig.fn_token.span, "`#[export]` needs an `extern \"C\"` function: C code calls it"));
    }
    if let Some(asyncness) = &sig.asyncness {
        return Err(Error::new(asyncness.span, "C code cannot call an `async` function"));
    }
    // Lifetimes are fine: they do not multiply the function.
    let multiplying = |param: &&GenericParam| !matches!(param, GenericParam::Lifetime(_));
    if let Some(param) = sig.generics.params.iter().find(multiplying) {
        return Err(Error::new_spanned(param, "C code cannot call a generic function: it has no single symbol"));
    }

    Ok(function.to_token_stream())
}

/// `extern fn` without a name means `extern "C" fn`.
fn is_c_abi(abi: &Abi) -> bool {
    abi.name.as_ref().is_none_or(|name| name.value() == "C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn error_of(function: &ItemFn) -> String {
        export(function).expect_err("refused").to_string()
    }

    #[test]
    fn c_function_passes_unchanged() {
        let function: ItemFn = parse_quote! { pub unsafe extern "C" fn fill<'a>(at: &'a mut u8) -> i32 { 0 } };

        let expansion = export(&function).expect("accepted");

        assert_eq!(expansion.to_string(), function.to_token_stream().to_string());
    }

    #[test]
    fn rust_function_is_refused() {
        let error = error_of(&parse_quote! { pub fn fill() {} });

        assert!(error.contains("needs an `extern \"C\"` function"), "{error}");
    }

    #[test]
    fn other_abi_is_refused() {
        let error = error_of(&parse_quote! { pub extern "sysv64" fn fill() {} });

        assert!(error.contains("needs an `extern \"C\"` function"), "{error}");
    }

    #[test]
    fn generic_function_is_refused() {
        let over_types = error_of(&parse_quote! { pub extern "C" fn fill<T>(at: *mut T) {} });
        let over_values = error_of(&parse_quote! { pub extern "C" fn fill<const N: usize>() {} });

        assert!(over_types.contains("generic function"), "{over_types}");
        assert!(over_values.contains("generic function"), "{over_values}");
    }
}
