//! `ForLt!` and `CovariantForLt!`: a type that stands for "this type, for every lifetime", with the proofs that entails.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    parse::{Parse, ParseStream},
    visit::Visit,
    visit_mut::{self, VisitMut},
    Ident, Lifetime, Macro, Result, Token, Type, TypeReference,
};

/// A type and the one lifetime it is generic over.
pub(crate) struct HigherRanked {
    lifetime: Lifetime,
    ty: Type,
}

impl Parse for HigherRanked {
    /// Takes `for<'a> Type`, or a plain `Type` in which every elided lifetime means the same one.
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(Token![for]) {
            input.parse::<Token![for]>()?;
            input.parse::<Token![<]>()?;
            let lifetime = input.parse()?;
            input.parse::<Token![>]>()?;
            let ty = input.parse()?;
            return Ok(Self { lifetime, ty });
        }

        let lifetime = hygienic_lifetime("__elided");
        let mut ty = input.parse()?;
        NameElided(&lifetime).visit_type_mut(&mut ty);
        Ok(Self { lifetime, ty })
    }
}

/// A lifetime that no lifetime in the caller's code can be confused with.
fn hygienic_lifetime(name: &str) -> Lifetime {
    Lifetime { apostrophe: Span::mixed_site(), ident: Ident::new(name, Span::mixed_site()) }
}

/// The expansion of `ForLt!`: the type is checked to be well-formed for every lifetime.
pub(crate) fn for_lt(input: &HigherRanked) -> TokenStream {
    expand(input, false)
}

/// The expansion of `CovariantForLt!`: the type is in addition checked to be covariant.
pub(crate) fn covariant_for_lt(input: &HigherRanked) -> TokenStream {
    expand(input, true)
}

fn expand(input: &HigherRanked, covariant: bool) -> TokenStream {
    let HigherRanked { lifetime, ty } = input;
    let proofs = unproven_parts(ty, lifetime)
        .into_iter()
        .enumerate()
        .map(|(number, part)| proof(number, part, lifetime, covariant));

    // The compiler does not check that `Of` below is well-formed. Naming it once with `'static`, as a plain type
    // argument, makes it check; unlike the proofs this works for types that mention generic parameters.
    let mut ty_static = ty.clone();
    let mut make_static = Replace { from: lifetime, to: &hygienic_lifetime("static") };
    make_static.visit_type_mut(&mut ty_static);
    let kind = usize::from(covariant);

    quote! {
        ::kernel::types::for_lt::UnsafeForLtImpl::<
            dyn for<#lifetime> ::kernel::types::for_lt::WithLt<#lifetime, Of = #ty>,
            #ty_static,
            {
                #(#proofs)*
                #kind
            },
        >
    }
}

/// Items that compile only if `part` is well-formed for every lifetime and, where asked for, covariant.
fn proof(number: usize, part: &Type, lifetime: &Lifetime, covariant: bool) -> TokenStream {
    let holder = format_ident!("ProveWf{number}");
    // A structure, because a function may assume that its argument types are well-formed.
    let well_formed = quote! {
        struct #holder<#lifetime>(::core::marker::PhantomData<&#lifetime ()>, #part);
    };
    let shortened = covariant.then(|| {
        let shorten = format_ident!("prove_covariant_{number}");
        quote! {
            fn #shorten<'__short, '__long: '__short>(held: #holder<'__long>) -> #holder<'__short> {
                held
            }
        }
    });
    quote!(#well_formed #shortened)
}

/// The parts of `ty` whose form alone does not show that they are covariant in `lifetime` and well-formed for all
/// of its values.
fn unproven_parts<'t>(ty: &'t Type, lifetime: &Lifetime) -> Vec<&'t Type> {
    let mut unproven = Vec::new();
    let mut pending = vec![ty];
    while let Some(ty) = pending.pop() {
        match parts_that_decide(ty, lifetime) {
            Some(parts) => pending.extend(parts.into_iter().rev()),
            None => unproven.push(ty),
        }
    }
    unproven
}

/// If `ty` is fine whenever some of its parts are, those parts; `None` if only the compiler can tell.
fn parts_that_decide<'t>(ty: &'t Type, lifetime: &Lifetime) -> Option<Vec<&'t Type>> {
    match ty {
        Type::Never(_) => Some(Vec::new()),
        Type::Paren(inner) => Some(vec![&inner.elem]),
        Type::Group(inner) => Some(vec![&inner.elem]),
        Type::Array(array) => Some(vec![&array.elem]),
        Type::Slice(slice) => Some(vec![&slice.elem]),
        Type::Tuple(tuple) => Some(tuple.elems.iter().collect()),
        Type::Ptr(pointer) if pointer.const_token.is_some() => Some(vec![&pointer.elem]),
        // A reference with another lifetime must not get here while its target mentions `lifetime`:
        // `&'static &'a u32` exists only for one `'a`.
        Type::Reference(reference)
            if reference.mutability.is_none() && reference.lifetime.as_ref() == Some(lifetime) =>
        {
            Some(vec![&reference.elem])
        }
        // `&'a mut T` is covariant in `'a`; it is `T` it is invariant in.
        Type::Reference(reference) if !mentions(&reference.elem, lifetime) => Some(Vec::new()),
        other if !mentions(other, lifetime) => Some(Vec::new()),
        _ => None,
    }
}

fn mentions(ty: &Type, lifetime: &Lifetime) -> bool {
    let mut search = Mentions { lifetime, found: false };
    search.visit_type(ty);
    search.found
}

struct Mentions<'l> {
    lifetime: &'l Lifetime,
    found: bool,
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.found |= lifetime.ident == self.lifetime.ident;
    }

    // Nobody knows what a macro in a type expands to.
    fn visit_macro(&mut self, _: &'ast Macro) {
        self.found = true;
    }
}

/// Gives every elided lifetime the same name.
struct NameElided<'l>(&'l Lifetime);

impl VisitMut for NameElided<'_> {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            lifetime.clone_from(self.0);
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        visit_mut::visit_type_reference_mut(self, reference);
        reference.lifetime.get_or_insert_with(|| self.0.clone());
    }
}

/// Puts one lifetime in the place of another.
struct Replace<'l> {
    from: &'l Lifetime,
    to: &'l Lifetime,
}

impl VisitMut for Replace<'_> {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == self.from.ident {
            lifetime.clone_from(self.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::ToTokens;

    fn parse(tokens: TokenStream) -> HigherRanked {
        syn::parse2(tokens).expect("a type")
    }

    fn text(tokens: impl ToTokens) -> String {
        tokens.into_token_stream().to_string()
    }

    fn unproven(tokens: TokenStream) -> Vec<String> {
        let HigherRanked { lifetime, ty } = parse(tokens);
        unproven_parts(&ty, &lifetime).into_iter().map(text).collect()
    }

    #[test]
    fn elided_lifetimes_get_one_name() {
        let parsed = parse(quote!((&u8, Guard<'_, &mut u8>)));

        let wanted = quote!((&'__elided u8, Guard<'__elided, &'__elided mut u8>));
        assert_eq!(text(parsed.ty), text(wanted));
    }

    #[test]
    fn explicit_binder_leaves_the_type_alone() {
        let parsed = parse(quote!(for<'a> Guard<'a>));

        assert_eq!(text(parsed.lifetime), "'a");
        assert_eq!(text(parsed.ty), text(quote!(Guard<'a>)));
    }

    #[test]
    fn second_lifetime_in_the_binder_is_refused() {
        let parsed = syn::parse2::<HigherRanked>(quote!(for<'a, 'b> Guard<'a, 'b>));

        assert!(parsed.is_err());
    }

    #[test]
    fn builtin_shapes_need_no_proof() {
        let shapes = unproven(quote!((u8, &[u8], [&KBox<u8>; 4], *const &u8, &mut u8, !, fn(&'static u8))));

        assert_eq!(shapes, [] as [String; 0]);
    }

    #[test]
    fn named_type_over_the_lifetime_needs_a_proof() {
        let parts = unproven(quote!(for<'a> (&'a Bar<'a>, Irq<'a>, u8)));

        assert_eq!(parts, [text(quote!(Bar<'a>)), text(quote!(Irq<'a>))]);
    }

    #[test]
    fn invariant_or_foreign_positions_need_a_proof() {
        let parts = unproven(quote!(for<'a> (&'static &'a u8, &'a mut &'a u8, *mut &'a u8, name!())));

        assert_eq!(parts.len(), 4);
    }

    #[test]
    fn expansion_is_a_type_with_the_static_instance_in_it() {
        let expansion = for_lt(&parse(quote!(for<'a> Bar<'a>)));

        let ty: Type = syn::parse2(expansion).expect("the expansion is a type");
        let wanted = quote! {
            ::kernel::types::for_lt::UnsafeForLtImpl::<
                dyn for<'a> ::kernel::types::for_lt::WithLt<'a, Of = Bar<'a> >,
                Bar<'static>,
                { struct ProveWf0<'a>(::core::marker::PhantomData<&'a ()>, Bar<'a>); 0usize },
            >
        };
        assert_eq!(text(ty), text(wanted));
    }

    #[test]
    fn only_the_covariant_form_carries_a_covariance_proof() {
        let plain = text(for_lt(&parse(quote!(Bar<'_>))));
        let covariant = text(covariant_for_lt(&parse(quote!(Bar<'_>))));

        assert!(!plain.contains("prove_covariant_0") && plain.contains("0usize"), "{plain}");
        assert!(covariant.contains("prove_covariant_0") && covariant.contains("1usize"), "{covariant}");
    }
}
