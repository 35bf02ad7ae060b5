//! `fmt!`: `format_args!` whose arguments are printed the kernel's way, because each is wrapped in `kernel::fmt::Adapter`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Ident, Literal, Spacing, Span, TokenStream, TokenTree};
use quote::{quote_spanned, ToTokens};
use syn::{Error, LitStr, Result};

use crate::identifier::identifier;

/// Expands `"format", arguments` to a `format_args!` of wrapped arguments.
pub(crate) fn fmt(input: TokenStream) -> Result<TokenStream> {
    let mut tokens = input.into_iter();
    let format = format_literal(tokens.next())?;
    let mut captured = captured_names(&format)?;
    let arguments = Arguments::split(tokens)?;

    for argument in &arguments.list {
        if let Some(name) = &argument.name {
            captured.remove(name.to_string().as_str());
        }
    }
    if let (Some(comma), Some(name)) = (arguments.trailing_comma, captured.keys().next()) {
        let complaint = format!(
            "Linux 7.3 cannot expand a trailing comma together with the inline argument `{{{name}}}`: \
             remove this comma"
        );
        return Err(Error::new(comma, complaint));
    }

    let span = format.span();
    let wrapped = arguments.list.into_iter().map(|argument| argument.wrap(span));
    // The name is looked up where the format string stands, as `format_args!` itself would do.
    let inline = captured.values().map(|name| wrap(Some(name), name, span));
    let arguments = wrapped.chain(inline);
    let whole = generated(span);
    Ok(quote_spanned!(whole=> ::core::format_args!(#format #(, #arguments)*)))
}

/// A span that points at `location` and tells lints that nobody wrote the token there by hand.
fn generated(location: Span) -> Span {
    Span::call_site().located_at(location)
}

fn wrap(name: Option<&Ident>, value: &impl ToTokens, location: Span) -> TokenStream {
    let name = name.map(|name| quote_spanned!(generated(location)=> #name =));
    quote_spanned!(generated(location)=> #name ::kernel::fmt::Adapter(&(#value)))
}

/// The format string. Like Linux, only a plain one: neither raw, nor made by a macro, nor a macro's `literal` parameter.
fn format_literal(first: Option<TokenTree>) -> Result<Literal> {
    let complaint = "expected a plain string literal as the format string";
    match first {
        Some(TokenTree::Literal(literal)) => {
            let text = literal.to_string();
            if text.len() >= 2 && text.starts_with('"') && text.ends_with('"') {
                Ok(literal)
            } else {
                Err(Error::new(literal.span(), complaint))
            }
        }
        Some(other) => Err(Error::new(other.span(), complaint)),
        None => Err(Error::new(Span::call_site(), complaint)),
    }
}

/// The names that `{name}` and `{name:spec}` take from the scope around the macro or from a named argument.
fn captured_names(format: &Literal) -> Result<BTreeMap<String, Ident>> {
    let source = format.to_string();
    let value = syn::parse2::<LitStr>(format.to_token_stream())?.value();
    let names = placeholder_names(&value);
    // Linux looks at the source text, so the braces of `\u{e9}` look like an argument `e9` to it.
    if names != placeholder_names(source.trim_matches('"')) {
        return Err(Error::new(
            format.span(),
            "Linux 7.3 cannot tell the braces of an escape from those of an argument: write the character itself",
        ));
    }
    names.into_iter().map(|name| Ok((name.to_owned(), identifier(name, format.span())?))).collect()
}

fn placeholder_names(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        if let Some(after_escape) = after.strip_prefix('{') {
            rest = after_escape;
            continue;
        }
        let Some((placeholder, after)) = after.split_once('}') else {
            break;
        };
        rest = after;
        let name = placeholder.split(':').next().unwrap_or_default();
        let is_position = name.bytes().all(|byte| byte.is_ascii_digit());
        if !is_position {
            names.insert(name);
        }
    }
    names
}

/// What follows the format string.
#[derive(Default)]
struct Arguments {
    list: Vec<Argument>,
    trailing_comma: Option<Span>,
}

struct Argument {
    name: Option<Ident>,
    value: TokenStream,
}

impl Arguments {
    /// Splits at every comma that is not inside brackets; like Linux, without regard to generics and closures.
    fn split(tokens: impl Iterator<Item = TokenTree>) -> Result<Self> {
        let mut arguments = Self::default();
        let mut current: Vec<TokenTree> = Vec::new();
        let mut last_comma: Option<Span> = None;

        for tree in tokens {
            match (&tree, last_comma) {
                (TokenTree::Punct(punct), previous) if punct.as_char() == ',' => {
                    if previous.is_some() {
                        arguments.push(std::mem::take(&mut current), punct.span())?;
                    }
                    last_comma = Some(punct.span());
                }
                (_, Some(_)) => current.push(tree),
                (_, None) => return Err(Error::new(tree.span(), "expected `,` after the format string")),
            }
        }
        match last_comma {
            Some(comma) if current.is_empty() => arguments.trailing_comma = Some(comma),
            Some(comma) => arguments.push(current, comma)?,
            None => {}
        }
        Ok(arguments)
    }

    fn push(&mut self, tokens: Vec<TokenTree>, end: Span) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::new(end, "expected an argument before this comma"));
        }
        self.list.push(Argument::new(tokens)?);
        Ok(())
    }
}

impl Argument {
    /// Takes `name = value` or a plain `value`.
    fn new(mut tokens: Vec<TokenTree>) -> Result<Self> {
        let is_equals = |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == '=');
        let Some(at) = tokens.iter().position(is_equals) else {
            return Ok(Self { name: None, value: tokens.into_iter().collect() });
        };

        let is_joint = matches!(&tokens[at], TokenTree::Punct(equals) if equals.spacing() == Spacing::Joint)
            && tokens.get(at + 1).is_some_and(is_equals);
        match &tokens[..at] {
            [TokenTree::Ident(name)] if !is_joint => {
                let name = name.clone();
                let value = tokens.split_off(at + 1).into_iter().collect();
                Ok(Self { name: Some(name), value })
            }
            _ => Err(Error::new(
                tokens[at].span(),
                "Linux 7.3 takes this `=` for that of a named argument: put the expression in parentheses",
            )),
        }
    }

    fn wrap(self, location: Span) -> TokenStream {
        wrap(self.name.as_ref(), &self.value, location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn expanded(input: TokenStream) -> String {
        let expansion = fmt(input).expect("expands");
        syn::parse2::<syn::ExprMacro>(expansion).expect("the expansion is a macro call").into_token_stream().to_string()
    }

    fn error_of(input: TokenStream) -> String {
        fmt(input).expect_err("refused").to_string()
    }

    #[test]
    fn positional_argument_is_wrapped() {
        let text = expanded(quote!("{} {:#x}\n", a, b.c(1, 2)));

        let wanted = quote!(::core::format_args!(
            "{} {:#x}\n",
            ::kernel::fmt::Adapter(&(a)),
            ::kernel::fmt::Adapter(&(b.c(1, 2)))
        ));
        assert_eq!(text, wanted.to_string());
    }

    #[test]
    fn named_argument_keeps_its_name() {
        let text = expanded(quote!("{x:?}", x = y));

        let wanted = quote!(::core::format_args!("{x:?}", x = ::kernel::fmt::Adapter(&(y))));
        assert_eq!(text, wanted.to_string());
    }

    #[test]
    fn inline_names_are_passed_once_each() {
        let text = expanded(quote!("{b} {a:?} {b:#x} {0}", z));

        let wanted = quote!(::core::format_args!(
            "{b} {a:?} {b:#x} {0}",
            ::kernel::fmt::Adapter(&(z)),
            a = ::kernel::fmt::Adapter(&(a)),
            b = ::kernel::fmt::Adapter(&(b))
        ));
        assert_eq!(text, wanted.to_string());
    }

    #[test]
    fn doubled_braces_capture_nothing() {
        let text = expanded(quote!("{{a}} {{{{ {}", x));

        assert!(!text.contains("a ="), "{text}");
    }

    #[test]
    fn width_taken_from_scope_is_not_wrapped() {
        let text = expanded(quote!("{:w$} {:.p$}", x, y));

        assert!(!text.contains("w =") && !text.contains("p ="), "{text}");
    }

    #[test]
    fn trailing_comma_after_plain_arguments_is_dropped() {
        let text = expanded(quote!("{}", x,));

        let wanted = quote!(::core::format_args!("{}", ::kernel::fmt::Adapter(&(x))));
        assert_eq!(text, wanted.to_string());
    }

    #[test]
    fn trailing_comma_beside_an_inline_name_is_refused() {
        let error = error_of(quote!("{} {name}", x,));

        assert!(error.contains("trailing comma together with the inline argument `{name}`"), "{error}");
    }

    #[test]
    fn comparison_without_parentheses_is_refused() {
        let equal = error_of(quote!("{}", a == b));
        let not_less = error_of(quote!("{}", a >= b));

        assert!(equal.contains("put the expression in parentheses"), "{equal}");
        assert!(not_less.contains("put the expression in parentheses"), "{not_less}");
    }

    #[test]
    fn comparison_in_parentheses_or_after_a_name_is_accepted() {
        let bare = expanded(quote!("{}", (a == b)));
        let named = expanded(quote!("{x}", x = a == b));

        assert!(bare.contains("Adapter (& ((a == b)))"), "{bare}");
        assert!(named.contains("x = :: kernel :: fmt :: Adapter (& (a == b))"), "{named}");
    }

    #[test]
    fn unicode_escape_that_looks_like_an_argument_is_refused() {
        let literal: TokenStream = r#""caf\u{e9}\n""#.parse().expect("a literal");

        let error = error_of(literal);

        assert!(error.contains("write the character itself"), "{error}");
    }

    #[test]
    fn missing_comma_after_the_format_string_is_refused() {
        let error = error_of(quote!("{}" x));

        assert_eq!(error, "expected `,` after the format string");
    }

    #[test]
    fn placeholder_that_is_no_name_is_refused() {
        let blank = error_of(quote!("{name }"));
        let expression = error_of(quote!("{a.b}"));

        assert_eq!(blank, "`name ` is not an identifier");
        assert_eq!(expression, "`a.b` is not an identifier");
    }

    #[test]
    fn raw_or_computed_format_string_is_refused() {
        let raw = error_of(quote!(r"x"));
        let computed = error_of(quote!(concat!("a", "b")));
        let empty = error_of(quote!());

        assert!(raw.starts_with("expected a plain string literal"), "{raw}");
        assert!(computed.starts_with("expected a plain string literal"), "{computed}");
        assert!(empty.starts_with("expected a plain string literal"), "{empty}");
    }

    #[test]
    fn empty_argument_is_refused() {
        let error = error_of(quote!("{}", , x));

        assert_eq!(error, "expected an argument before this comma");
    }
}
