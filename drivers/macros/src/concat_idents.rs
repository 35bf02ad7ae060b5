//! `concat_idents!`: one identifier out of two.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::{
    parse::{Parse, ParseStream},
    Result, Token,
};

use crate::identifier::identifier;

/// The two identifiers to join.
pub(crate) struct Pair {
    head: Ident,
    tail: Ident,
}

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let head = input.parse()?;
        input.parse::<Token![,]>()?;
        let tail = input.parse()?;
        Ok(Self { head, tail })
    }
}

/// Joins the two; the result is found where the second one is.
pub(crate) fn concat_idents(pair: &Pair) -> Result<TokenStream> {
    let Pair { head, tail } = pair;
    let joined = identifier(&format!("{head}{tail}"), tail.span())?;
    Ok(joined.into_token_stream())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn two_identifiers_become_one() {
        let pair = syn::parse2(quote!(BR_, OK)).expect("a pair");

        let joined = concat_idents(&pair).expect("an identifier");

        assert_eq!(joined.to_string(), "BR_OK");
    }

    #[test]
    fn third_identifier_is_refused() {
        let parsed = syn::parse2::<Pair>(quote!(a, b, c));

        assert!(parsed.is_err());
    }

    #[test]
    fn raw_tail_does_not_make_an_identifier() {
        let pair = syn::parse2(quote!(a, r#type)).expect("a pair");

        let error = concat_idents(&pair).expect_err("refused");

        assert_eq!(error.to_string(), "`ar#type` is not an identifier");
    }
}
