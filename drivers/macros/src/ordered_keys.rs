//! Reads `key: value,` lists whose keys must keep one fixed order, and says precisely what is wrong when they do not.

use syn::{
    ext::IdentExt,
    parse::{ParseStream, Parser},
    Error, Ident, Result, Token,
};

/// A cursor over a `key: value,` list. Ask for the keys one after the other, then call [`finish`](Self::finish).
pub(crate) struct OrderedKeys<'a> {
    input: ParseStream<'a>,
    order: &'static [&'static str],
    taken: Vec<&'static str>,
}

impl<'a> OrderedKeys<'a> {
    /// Starts at the head of `input`; `order` names every legal key, in its order.
    pub(crate) fn new(input: ParseStream<'a>, order: &'static [&'static str]) -> Self {
        Self { input, order, taken: Vec::new() }
    }

    /// Takes `key` if it stands next, and its value by means of `value`.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        value: impl FnOnce(ParseStream<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.next_key().is_none_or(|next| next != key) {
            return Ok(None);
        }
        self.input.call(Ident::parse_any)?;
        self.input.parse::<Token![:]>()?;
        let value = value(self.input)?;
        self.input.parse::<Token![,]>()?;
        self.taken.push(key);
        Ok(Some(value))
    }

    /// Takes `key`, which must stand next, and its value by means of `value`.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        value: impl FnOnce(ParseStream<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.optional(key, value)? {
            Some(value) => Ok(value),
            None if self.is_still_ahead(key) => Err(self.unexpected_key()),
            None => Err(self.missing(key)),
        }
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<()> {
        if self.input.is_empty() {
            Ok(())
        } else {
            Err(self.unexpected_key())
        }
    }

    fn next_key(&self) -> Option<Ident> {
        self.input.cursor().ident().map(|(ident, _)| ident)
    }

    /// Whether `key :` occurs somewhere in what is left, so that "missing" would be the wrong complaint.
    fn is_still_ahead(&self, key: &str) -> bool {
        let scan = |input: ParseStream<'_>| {
            let mut found = false;
            while !input.is_empty() {
                let is_key = input.cursor().ident().is_some_and(|(word, _)| word == key);
                input.parse::<proc_macro2::TokenTree>()?;
                found |= is_key && input.peek(Token![:]) && !input.peek(Token![::]);
            }
            Ok(found)
        };
        scan.parse2(self.input.cursor().token_stream()).unwrap_or(false)
    }

    fn missing(&self, key: &str) -> Error {
        match self.next_key() {
            // A key nobody knows, or one given twice, is the better explanation of the gap.
            Some(next) if !self.is_open(&next) => self.unexpected_key(),
            _ => self.input.error(format!("missing required key `{key}`")),
        }
    }

    /// Whether `key` is legal and has not been given yet.
    fn is_open(&self, key: &Ident) -> bool {
        self.order.iter().any(|known| key == known) && !self.taken.iter().any(|seen| key == seen)
    }

    /// Explains why the key that stands next cannot stand here.
    fn unexpected_key(&self) -> Error {
        let Some(key) = self.next_key() else {
            return self.input.error("expected a key, as in `name: \"...\"`");
        };
        let order = self.order.join("`, `");
        let complaint = if self.taken.iter().any(|seen| key == seen) {
            format!("duplicate key `{key}`")
        } else if self.is_open(&key) {
            format!("key `{key}` is out of order; the order is `{order}`")
        } else {
            format!("unknown key `{key}`; the valid keys are `{order}`")
        };
        Error::new(key.span(), complaint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;
    use syn::{parse::Parse, LitInt, LitStr};

    fn read(tokens: proc_macro2::TokenStream) -> std::result::Result<(String, Option<u32>), String> {
        let parser = |input: ParseStream<'_>| {
            let mut keys = OrderedKeys::new(input, &["type", "size", "label"]);
            let kind: LitStr = keys.required("type", Parse::parse)?;
            let size = keys.optional("size", |value| value.parse::<LitInt>()?.base10_parse())?;
            keys.required("label", <LitStr as Parse>::parse)?;
            keys.finish()?;
            Ok((kind.value(), size))
        };
        parser.parse2(tokens).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_in_order_are_read() {
        let read = read(quote! { type: "t", size: 3, label: "l", });

        assert_eq!(read, Ok(("t".to_owned(), Some(3))));
    }

    #[test]
    fn absent_optional_key_is_none() {
        let read = read(quote! { type: "t", label: "l", });

        assert_eq!(read, Ok(("t".to_owned(), None)));
    }

    #[test]
    fn unknown_key_is_named_together_with_the_valid_ones() {
        let error = read(quote! { type: "t", sise: 3, label: "l", }).unwrap_err();

        assert_eq!(error, "unknown key `sise`; the valid keys are `type`, `size`, `label`");
    }

    #[test]
    fn unknown_key_at_the_end_is_named() {
        let error = read(quote! { type: "t", label: "l", colour: 1, }).unwrap_err();

        assert!(error.starts_with("unknown key `colour`"), "{error}");
    }

    #[test]
    fn missing_required_key_is_named() {
        let at_the_end = read(quote! { type: "t", size: 3, }).unwrap_err();
        let before_another = read(quote! { size: 3, label: "l", }).unwrap_err();

        assert!(at_the_end.contains("missing required key `label`"), "{at_the_end}");
        assert!(before_another.contains("missing required key `type`"), "{before_another}");
    }

    #[test]
    fn repeated_key_is_a_duplicate() {
        let error = read(quote! { type: "t", type: "u", label: "l", }).unwrap_err();

        assert_eq!(error, "duplicate key `type`");
    }

    #[test]
    fn key_before_its_predecessor_is_out_of_order() {
        let required = read(quote! { label: "l", type: "t", }).unwrap_err();
        let optional = read(quote! { type: "t", label: "l", size: 3, }).unwrap_err();

        assert!(required.starts_with("key `label` is out of order"), "{required}");
        assert!(optional.starts_with("key `size` is out of order"), "{optional}");
    }

    #[test]
    fn comma_after_the_last_value_is_required() {
        let error = read(quote! { type: "t", label: "l" }).unwrap_err();

        assert!(error.contains("expected `,`"), "{error}");
    }
}
