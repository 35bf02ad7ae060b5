//! `paste!`: replaces each `[<a b>]` in a stream of tokens by the identifier `ab`.

use proc_macro2::{Delimiter, Group, Ident, Spacing, Span, TokenStream, TokenTree};
use syn::{ext::IdentExt, Error, Result};

use crate::identifier::identifier;

/// Expands every `[<...>]` in `input`, however deep.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let tokens = input.into_iter().map(expand_tree).collect::<Result<Vec<TokenTree>>>()?;
    Ok(open_groups_in_paths(tokens))
}

fn expand_tree(tree: TokenTree) -> Result<TokenTree> {
    let TokenTree::Group(group) = tree else {
        return Ok(tree);
    };
    if let Some(pieces) = paste_pieces(&group) {
        return join(pieces, group.span()).map(TokenTree::Ident);
    }
    let mut expanded = Group::new(group.delimiter(), expand(group.stream())?);
    expanded.set_span(group.span());
    Ok(TokenTree::Group(expanded))
}

/// What stands between `[<` and `>]`, if `group` is of that form and holds anything.
fn paste_pieces(group: &Group) -> Option<Vec<TokenTree>> {
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let mut pieces: Vec<TokenTree> = group.stream().into_iter().collect();
    let framed = pieces.len() >= 3
        && pieces.first().is_some_and(|tree| is_punct(tree, '<'))
        && pieces.last().is_some_and(|tree| is_punct(tree, '>'));
    if !framed {
        return None;
    }
    pieces.pop();
    pieces.remove(0);
    Some(pieces)
}

/// The text gathered so far, piece by piece, because modifiers act on the latest piece only.
#[derive(Default)]
struct Pasted {
    pieces: Vec<(String, Span)>,
    location: Option<Span>,
}

fn join(pieces: Vec<TokenTree>, brackets: Span) -> Result<Ident> {
    let mut pasted = Pasted::default();
    pasted.add_all(pieces)?;

    let name: String = pasted.pieces.iter().map(|(text, _)| text.as_str()).collect();
    // Names are looked up as seen from the brackets; `span` only moves what messages point at.
    let location = pasted.location.unwrap_or(brackets);
    identifier(&name, brackets.located_at(location))
}

impl Pasted {
    fn add_all(&mut self, trees: impl IntoIterator<Item = TokenTree>) -> Result<()> {
        let mut trees = trees.into_iter();
        while let Some(tree) = trees.next() {
            match tree {
                TokenTree::Ident(ident) => {
                    self.pieces.push((ident.unraw().to_string(), ident.span()));
                }
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&text);
                    self.pieces.push((bare.to_owned(), literal.span()));
                }
                TokenTree::Punct(colon) if colon.as_char() == ':' => match trees.next() {
                    Some(TokenTree::Ident(modifier)) => self.modify(&modifier)?,
                    _ => return Err(Error::new(colon.span(), "expected a modifier after `:`")),
                },
                // A macro parameter arrives wrapped in an invisible group.
                TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                    self.add_all(group.stream())?;
                }
                other => {
                    let complaint = format!("`{other}` cannot be part of an identifier");
                    return Err(Error::new(other.span(), complaint));
                }
            }
        }
        Ok(())
    }

    fn modify(&mut self, modifier: &Ident) -> Result<()> {
        let Some((text, span)) = self.pieces.last_mut() else {
            return Err(Error::new(modifier.span(), "there is nothing before this modifier"));
        };
        match modifier.to_string().as_str() {
            "lower" => *text = text.to_lowercase(),
            "upper" => *text = text.to_uppercase(),
            "span" if self.location.is_some() => {
                return Err(Error::new(modifier.span(), "`span` can be given only once"));
            }
            "span" => self.location = Some(*span),
            unknown => {
                let complaint = format!("unknown modifier `{unknown}`; there are `lower`, `upper` and `span`");
                return Err(Error::new(modifier.span(), complaint));
            }
        }
        Ok(())
    }
}

/// Puts the contents of an invisible group beside `::` into the path itself: the compiler takes no groups there.
fn open_groups_in_paths(tokens: Vec<TokenTree>) -> TokenStream {
    let is_path_sep = |at: usize| {
        matches!(tokens.get(at), Some(TokenTree::Punct(colon)) if colon.as_char() == ':' && colon.spacing() == Spacing::Joint)
            && tokens.get(at + 1).is_some_and(|tree| is_punct(tree, ':'))
    };
    let in_path: Vec<bool> =
        (0..tokens.len()).map(|at| is_path_sep(at + 1) || at.checked_sub(2).is_some_and(is_path_sep)).collect();

    let mut output = TokenStream::new();
    for (tree, in_path) in tokens.into_iter().zip(in_path) {
        match tree {
            TokenTree::Group(group) if in_path && group.delimiter() == Delimiter::None => {
                output.extend(group.stream());
            }
            other => output.extend([other]),
        }
    }
    output
}

fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn expanded(input: TokenStream) -> String {
        expand(input).expect("expands").to_string()
    }

    fn error_of(input: TokenStream) -> String {
        expand(input).expect_err("refused").to_string()
    }

    fn invisible(content: TokenStream) -> Group {
        Group::new(Delimiter::None, content)
    }

    #[test]
    fn identifiers_and_literals_are_joined() {
        let text = expanded(quote! { fn [<get_ "foo" _at 100>]() {} });

        assert_eq!(
            text,
            quote!(
                fn get_foo_at100() {}
            )
            .to_string()
        );
    }

    #[test]
    fn nested_groups_are_expanded() {
        let text = expanded(quote! { mod m { const [<A B>]: [u8; 2] = [[<a b>], (x)]; } });

        assert_eq!(
            text,
            quote!(
                mod m {
                    const AB: [u8; 2] = [ab, (x)];
                }
            )
            .to_string()
        );
    }

    #[test]
    fn modifiers_act_on_the_piece_before_them() {
        let text = expanded(quote! { [<Foo:upper _ Bar:lower:span Baz>] });

        assert_eq!(text, "FOO_barBaz");
    }

    #[test]
    fn raw_prefix_is_dropped() {
        let text = expanded(quote! { [<r#type _of>] });

        assert_eq!(text, "type_of");
    }

    #[test]
    fn invisible_group_is_joined_like_its_content() {
        let name = invisible(quote!(irq));

        let text = expanded(quote! { [<HAS_ #name:upper>] });

        assert_eq!(text, "HAS_IRQ");
    }

    #[test]
    fn invisible_group_in_a_path_is_opened() {
        let (head, tail) = (invisible(quote!(a)), invisible(quote!(b)));

        let tokens: Vec<TokenTree> = expand(quote! { #head::#tail }).expect("expands").into_iter().collect();

        assert_eq!(tokens.len(), 4);
        assert!(matches!(&tokens[0], TokenTree::Ident(ident) if ident == "a"));
        assert!(matches!(&tokens[3], TokenTree::Ident(ident) if ident == "b"));
    }

    #[test]
    fn invisible_group_outside_a_path_is_kept() {
        let value = invisible(quote!(1 + 2));

        let tokens: Vec<TokenTree> = expand(quote! { #value * 3 }).expect("expands").into_iter().collect();

        assert!(matches!(&tokens[0], TokenTree::Group(group) if group.delimiter() == Delimiter::None));
    }

    #[test]
    fn empty_brackets_are_left_alone() {
        let text = expanded(quote! { [<>] });

        assert_eq!(text, quote!([<>]).to_string());
    }

    #[test]
    fn unknown_modifier_is_refused() {
        let error = error_of(quote! { [<a:camel>] });

        assert!(error.starts_with("unknown modifier `camel`"), "{error}");
    }

    #[test]
    fn second_span_is_refused() {
        let error = error_of(quote! { [<a:span b:span>] });

        assert_eq!(error, "`span` can be given only once");
    }

    #[test]
    fn result_that_is_no_identifier_is_refused() {
        let error = error_of(quote! { [<1 a>] });

        assert_eq!(error, "`1a` is not an identifier");
    }

    #[test]
    fn punctuation_is_refused() {
        let error = error_of(quote! { [<a + b>] });

        assert_eq!(error, "`+` cannot be part of an identifier");
    }
}
