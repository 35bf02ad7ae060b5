//! The grammar of `pin_init!` and `init!`: what a user may write between the parentheses.
//!
//! ```text
//! initializer := ("#[default_error(" type ")]")* ("&" ident "in")? path "{" steps rest? "}" ("?" type)?
//! steps       := step ("," step)* ","?
//! step        := attribute* ( ident | ident ":" expr | ident "<-" expr | "_" ":" block )
//! rest        := ".." "Zeroable::init_zeroed()"
//! ```

use proc_macro2::Span;
use quote::ToTokens;
use syn::{
    braced,
    parse::{End, Parse, ParseStream},
    spanned::Spanned,
    Attribute, Block, Error, Expr, Ident, Path, PathArguments, Result, Token, Type,
};

/// One whole macro argument.
pub(crate) struct Initializer {
    /// The name that the user gave to the pointer to the whole struct, with `&name in`.
    pub(crate) this: Option<Ident>,
    pub(crate) path: Path,
    pub(crate) steps: Vec<Step>,
    /// Where `..Zeroable::init_zeroed()` stands, if it does.
    pub(crate) zero_rest: Option<Span>,
    /// The type after `?`, or else the last `#[default_error(...)]`.
    pub(crate) error: Option<Type>,
}

/// One comma-separated entry of the braces, in the order in which it will run.
pub(crate) struct Step {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    /// `field: value`, or `field` alone for a variable of the same name.
    Write { field: Ident, value: Option<Expr> },
    /// `field <- initialiser`.
    Run { field: Ident, init: Expr },
    /// `_: { statements }`.
    Code(Block),
}

impl Step {
    /// The field that this step initialises.
    pub(crate) fn field(&self) -> Option<&Ident> {
        match &self.action {
            Action::Write { field, .. } | Action::Run { field, .. } => Some(field),
            Action::Code(_) => None,
        }
    }

    /// The attributes that decide whether the step exists at all.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
    }
}

impl Parse for Initializer {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut error = None;
        for attr in input.call(Attribute::parse_outer)? {
            if !attr.path().is_ident("default_error") {
                let message = "only `#[default_error(Type)]` may stand before an initialiser";
                return Err(Error::new_spanned(attr, message));
            }
            error = Some(attr.parse_args()?);
        }

        let mut this = None;
        if input.parse::<Option<Token![&]>>()?.is_some() {
            this = Some(input.parse()?);
            input.parse::<Token![in]>()?;
        }
        let path = parse_struct_path(input)?;

        let body;
        braced!(body in input);
        let steps = parse_steps(&body)?;
        let zero_rest = match body.parse::<Option<Token![..]>>()? {
            Some(dots) => Some(parse_zero_rest(dots, &body)?),
            None => None,
        };

        if input.parse::<Option<Token![?]>>()?.is_some() {
            error = Some(input.parse()?);
        }
        Ok(Self { this, path, steps, zero_rest, error })
    }
}

impl Parse for Step {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Ok(Self { attrs: input.call(Attribute::parse_outer)?, action: input.parse()? })
    }
}

impl Parse for Action {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let start = input.lookahead1();
        if start.peek(Token![_]) {
            input.parse::<Token![_]>()?;
            input.parse::<Token![:]>()?;
            return input.parse().map(Self::Code);
        }
        if !start.peek(Ident) {
            return Err(start.error());
        }

        let field = parse_field_name(input)?;
        let after = input.lookahead1();
        if after.peek(Token![<-]) {
            input.parse::<Token![<-]>()?;
            let init = input.parse()?;
            Ok(Self::Run { field, init })
        } else if after.peek(Token![:]) {
            input.parse::<Token![:]>()?;
            let value = Some(input.parse()?);
            Ok(Self::Write { field, value })
        } else if after.peek(Token![,]) || after.peek(End) {
            Ok(Self::Write { field, value: None })
        } else {
            Err(after.error())
        }
    }
}

/// Parses the struct's path. `Foo<T> { .. }` is no expression in Rust, so say at once what is.
fn parse_struct_path(input: ParseStream<'_>) -> Result<Path> {
    let path: Path = input.parse()?;
    for segment in &path.segments {
        if let PathArguments::AngleBracketed(arguments) = &segment.arguments {
            if arguments.colon2_token.is_none() {
                let message = "generic arguments of an initialised struct are written `::<...>`";
                return Err(Error::new_spanned(arguments, message));
            }
        }
    }
    Ok(path)
}

/// Parses a field's name. Linux 7.3's macros panic on a raw identifier, so a driver that counts on
/// one would not build there.
fn parse_field_name(input: ParseStream<'_>) -> Result<Ident> {
    let name: Ident = input.parse()?;
    if name.to_string().starts_with("r#") {
        let message = "Linux's initialiser macros do not support fields with raw names";
        return Err(Error::new(name.span(), message));
    }
    Ok(name)
}

fn parse_steps(body: ParseStream<'_>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    while !body.is_empty() && !body.peek(Token![..]) {
        steps.push(body.parse()?);
        let after = body.lookahead1();
        if after.peek(Token![,]) {
            body.parse::<Token![,]>()?;
        } else if !after.peek(End) {
            return Err(after.error());
        }
    }
    Ok(steps)
}

/// Parses what follows `..`. Exactly one spelling exists: the macro cannot see through any other
/// expression that it leaves every byte zero.
fn parse_zero_rest(dots: Token![..], body: ParseStream<'_>) -> Result<Span> {
    let base: Expr = body.parse()?;
    let spelling = base.to_token_stream().to_string().replace(' ', "");
    if spelling == "Zeroable::init_zeroed()" {
        return Ok(base.span());
    }
    let mut found = dots.to_token_stream();
    base.to_tokens(&mut found);
    let message = "only `..Zeroable::init_zeroed()` may stand here";
    Err(Error::new_spanned(found, message))
}

#[cfg(test)]
mod tests {
    use super::{Action, Initializer};
    use quote::ToTokens;

    fn parse(source: &str) -> syn::Result<Initializer> {
        syn::parse_str(source)
    }

    fn error_of(parsed: &Initializer) -> String {
        parsed.error.to_token_stream().to_string()
    }

    fn rejection(source: &str) -> String {
        parse(source).err().expect("must be rejected").to_string()
    }

    #[test]
    fn every_kind_of_step_is_told_apart() {
        let parsed = parse("Self { a, b: 1 + 2, c <- make(), _: { run(); } }").unwrap();

        let kinds: Vec<_> = parsed
            .steps
            .iter()
            .map(|step| match &step.action {
                Action::Write { value: None, .. } => "short",
                Action::Write { value: Some(_), .. } => "value",
                Action::Run { .. } => "init",
                Action::Code(_) => "code",
            })
            .collect();

        assert_eq!(kinds, ["short", "value", "init", "code"]);
        assert!(parsed.this.is_none() && parsed.zero_rest.is_none() && parsed.error.is_none());
    }

    #[test]
    fn type_after_question_mark_beats_the_default_error() {
        let parsed = parse("#[default_error(Wide)] Foo { } ? Narrow").unwrap();

        assert_eq!(error_of(&parsed), "Narrow");
    }

    #[test]
    fn default_error_is_used_without_question_mark() {
        let parsed = parse("#[default_error(Wide)] &this in Foo::<T> { a: this, }").unwrap();

        assert_eq!(error_of(&parsed), "Wide");
        assert_eq!(parsed.this.unwrap(), "this");
    }

    #[test]
    fn attributes_stay_with_their_step() {
        let parsed = parse("Foo { #[cfg(x)] #[allow(y)] a: 1, b }").unwrap();

        assert_eq!(parsed.steps[0].attrs.len(), 2);
        assert_eq!(parsed.steps[0].cfgs().count(), 1);
        assert_eq!(parsed.steps[1].attrs.len(), 0);
    }

    #[test]
    fn only_the_zeroing_rest_is_accepted() {
        assert!(parse("Foo { ..Zeroable::init_zeroed() }").unwrap().zero_rest.is_some());
        assert!(rejection("Foo { a: 1, ..Default::default() }").contains("init_zeroed"));
        assert!(rejection("Foo { ..pin_init::Zeroable::init_zeroed() }").contains("init_zeroed"));
        assert!(parse("Foo { ..Zeroable::init_zeroed(), }").is_err());
    }

    #[test]
    fn malformed_steps_are_rejected() {
        assert!(parse("Foo { a = 1 }").is_err());
        assert!(parse("Foo { a: 1 b: 2 }").is_err());
        assert!(parse("Foo { 0: 1 }").is_err());
        assert!(parse("Foo { _: run() }").is_err());
        assert!(parse("Foo { , }").is_err());
    }

    #[test]
    fn generics_without_turbofish_are_explained() {
        assert!(rejection("Foo<T> { a: 1 }").contains("::<...>"));
    }

    #[test]
    fn raw_field_name_is_rejected_as_it_is_in_linux() {
        assert!(rejection("Foo { r#type: 1 }").contains("raw names"));
    }

    #[test]
    fn foreign_attribute_before_the_struct_is_rejected() {
        assert!(rejection("#[inline] Foo { a: 1 }").contains("default_error"));
    }
}
