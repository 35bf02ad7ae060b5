//! Makes an identifier out of text, or says that it is none.

use proc_macro2::{Ident, Span};
use syn::{ext::IdentExt, parse::Parser, Error, Result};

/// The identifier `text`, at `span`. Keywords are fine; raw identifiers, blanks and anything else are an error.
pub(crate) fn identifier(text: &str, span: Span) -> Result<Ident> {
    // `Ident::new` would panic where this can complain.
    match Ident::parse_any.parse_str(text) {
        Ok(mut ident) if ident == text && !text.starts_with("r#") => {
            ident.set_span(span);
            Ok(ident)
        }
        _ => Err(Error::new(span, format!("`{text}` is not an identifier"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_keywords_are_identifiers() {
        let texts = ["irq0", "_x", "type", "größe"];

        let made = texts.map(|text| identifier(text, Span::call_site()).map(|ident| ident.to_string()).ok());

        assert_eq!(made, texts.map(|text| Some(text.to_owned())));
    }

    #[test]
    fn other_text_is_refused() {
        let texts = ["", "0a", "a b", "a ", "r#type", "a-b", "'a"];

        let made = texts.map(|text| identifier(text, Span::call_site()).is_err());

        assert_eq!(made, [true; 7]);
    }
}
