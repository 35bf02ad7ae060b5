//! `#[pin_data]`: which fields of a struct are pinned with it, and what follows from that.
//!
//! Besides the struct itself it generates the table of field slots that `pin_init!` asks, a
//! `project` method, an `Unpin` impl that looks at the pinned fields only, and either a `Drop`
//! that forwards to `PinnedDrop` or the proof that there is no `Drop`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned, ToTokens};
use syn::{
    parse::{End, Parse, ParseStream},
    parse_quote,
    spanned::Spanned,
    Attribute, Error, Field, Fields, Ident, Item, ItemStruct, Meta, Result, Type,
};

use crate::{projection, self_type};

/// The attribute's argument.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Destructor {
    /// `#[pin_data]`
    None,
    /// `#[pin_data(PinnedDrop)]`
    PinnedDrop,
}

impl Parse for Destructor {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        mod keyword {
            syn::custom_keyword!(PinnedDrop);
        }
        let start = input.lookahead1();
        if start.peek(End) {
            Ok(Self::None)
        } else if start.peek(keyword::PinnedDrop) {
            input.parse::<keyword::PinnedDrop>()?;
            Ok(Self::PinnedDrop)
        } else {
            Err(start.error())
        }
    }
}

/// A named field and whether it carries `#[pin]`.
pub(crate) struct PinField<'a> {
    pub(crate) field: &'a Field,
    pub(crate) name: &'a Ident,
    pub(crate) pinned: bool,
}

impl PinField<'_> {
    /// The conditions under which the field exists; each item made for it carries them too.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        let attrs = self.field.attrs.iter();
        attrs.filter(|attr| attr.path().is_ident("cfg"))
    }
}

pub(crate) fn expand(destructor: Destructor, item: Item) -> TokenStream {
    let mut item = match item {
        Item::Struct(item) => item,
        other => {
            let error = Error::new(keyword_span(&other), "`#[pin_data]` is for structs only");
            let error = error.into_compile_error();
            return quote!(#other #error);
        }
    };
    match take_pins(&mut item) {
        Ok(pins) => {
            let generated = generate(destructor, &item, &pins);
            quote!(#item #generated)
        }
        // The struct is kept, so that the rest of the user's code is still checked against it.
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

fn keyword_span(item: &Item) -> proc_macro2::Span {
    match item {
        Item::Enum(item) => item.enum_token.span,
        Item::Union(item) => item.union_token.span,
        other => other.span(),
    }
}

/// Removes each `#[pin]`, which only this macro knows, and says for each field whether it had one.
fn take_pins(item: &mut ItemStruct) -> Result<Vec<bool>> {
    let mut errors: Option<Error> = None;
    let mut complain = |error: Error| match &mut errors {
        Some(all) => all.combine(error),
        None => errors = Some(error),
    };

    if let Fields::Unnamed(fields) = &item.fields {
        let message = "`#[pin_data]` needs named fields";
        complain(Error::new(fields.paren_token.span.join(), message));
    }
    let mut pins = Vec::new();
    for field in &mut item.fields {
        let (pin_attrs, others): (Vec<_>, Vec<_>) =
            core::mem::take(&mut field.attrs).into_iter().partition(|attr| attr.path().is_ident("pin"));
        field.attrs = others;
        pins.push(!pin_attrs.is_empty());

        for attr in pin_attrs.iter().skip(1) {
            complain(Error::new_spanned(attr, "the field is already `#[pin]`"));
        }
        for attr in &pin_attrs {
            if !matches!(attr.meta, Meta::Path(_)) {
                complain(Error::new_spanned(attr, "`#[pin]` takes no arguments"));
            }
        }
    }
    match errors {
        Some(error) => Err(error),
        None => Ok(pins),
    }
}

fn generate(destructor: Destructor, item: &ItemStruct, pins: &[bool]) -> TokenStream {
    let item = &self_type::spelled_out(item);
    let fields: Vec<_> = item
        .fields
        .iter()
        .zip(pins)
        .filter_map(|(field, &pinned)| {
            let name = field.ident.as_ref()?;
            Some(PinField { field, name, pinned })
        })
        .collect();

    let projection = projection::generate(item, &fields);
    let table = slot_table(item, &fields);
    let unpin = unpin_impl(item, &fields);
    let drop = match destructor {
        Destructor::None => refuse_drop(item),
        Destructor::PinnedDrop => forward_drop(item),
    };
    let warnings =
        fields.iter().filter(|field| !field.pinned && is_phantom_pinned(&field.field.ty)).map(warn_of_ineffective_pin);
    quote! {
        #projection
        // An unnamed constant keeps the helpers out of the user's namespace.
        const _: () = {
            #table
            #unpin
            #drop
            #(#warnings)*
        };
    }
}

/// The type whose methods lead from a pointer to the struct to the slot of each field. A method
/// has its field's name and visibility, so a field that is private to the user's module stays so.
fn slot_table(item: &ItemStruct, fields: &[PinField<'_>]) -> TokenStream {
    let ItemStruct { vis, ident, .. } = item;
    let (impl_generics, arguments, bounds) = item.generics.split_for_impl();
    let methods = fields.iter().map(|pin_field| {
        let Field { vis, ty, .. } = pin_field.field;
        let name = pin_field.name;
        let cfgs = pin_field.cfgs();
        let pinning = if pin_field.pinned { quote!(Pinned) } else { quote!(Unpinned) };
        quote! {
            #(#cfgs)*
            #[inline(always)]
            #vis unsafe fn #name(
                &self,
                whole: *mut #ident #arguments,
            ) -> ::pin_init::__internal::Slot<::pin_init::__internal::#pinning, #ty> {
                // SAFETY: the caller vouches for `whole`, which makes its field valid; the field
                // is pinned with the struct exactly if it is marked so.
                unsafe { ::pin_init::__internal::Slot::new(&raw mut (*whole).#name) }
            }
        }
    });
    quote! {
        #[doc(hidden)]
        #[allow(explicit_outlives_requirements, reason = "the bounds are repeated as the structure has them")]
        #vis struct __PinFields #impl_generics (
            ::core::marker::PhantomData<fn(*mut #ident #arguments)>,
        ) #bounds;

        #[allow(dead_code, non_snake_case, clippy::missing_safety_doc, reason = "one hidden function for each field, called by the initialiser macros if at all")]
        impl #impl_generics __PinFields #arguments #bounds {
            #(#methods)*
        }

        impl #impl_generics ::pin_init::__internal::FieldTable for __PinFields #arguments #bounds {
            type Struct = #ident #arguments;
            const TABLE: Self = Self(::core::marker::PhantomData);
        }

        // SAFETY: the table's methods are made from the very fields of the struct.
        unsafe impl #impl_generics ::pin_init::__internal::HasPinData for #ident #arguments
            #bounds
        {
            type PinData = __PinFields #arguments;
        }
    }
}

/// The struct is `Unpin` if all pinned fields are: the others can be moved out of a pinned struct
/// anyway. The lifetime keeps the bound from being global, which the compiler would reject at
/// once for a struct without generics instead of finding the impl not to apply.
fn unpin_impl(item: &ItemStruct, fields: &[PinField<'_>]) -> TokenStream {
    let ident = &item.ident;
    let (_, arguments, _) = item.generics.split_for_impl();
    let mut with_lifetime = item.generics.clone();
    with_lifetime.params.insert(0, parse_quote!('__pin));
    let (decl_generics, decl_arguments, bounds) = with_lifetime.split_for_impl();

    let mut impl_bounds = item.generics.clone();
    impl_bounds.make_where_clause().predicates.push(parse_quote!(__PinnedOnly #decl_arguments: ::core::marker::Unpin));
    let impl_bounds = &impl_bounds.where_clause;

    let pinned = fields.iter().filter(|field| field.pinned).map(|pin_field| {
        let (name, ty) = (pin_field.name, &pin_field.field.ty);
        let cfgs = pin_field.cfgs();
        quote!(#(#cfgs)* #name: ::core::marker::PhantomData<#ty>,)
    });
    quote! {
        #[allow(dead_code, non_snake_case, explicit_outlives_requirements, reason = "the projection has the structure's names and bounds, and may go unused")]
        struct __PinnedOnly #decl_generics #bounds {
            #(#pinned)*
            __pin_marker: ::core::marker::PhantomData<
                fn(&'__pin (), *mut #ident #arguments),
            >,
        }

        #[doc(hidden)]
        impl #decl_generics ::core::marker::Unpin for #ident #arguments #impl_bounds {}
    }
}

/// A `Drop` that hands the pinned value to the user's `PinnedDrop`.
fn forward_drop(item: &ItemStruct) -> TokenStream {
    let ident = &item.ident;
    let (impl_generics, arguments, bounds) = item.generics.split_for_impl();
    quote! {
        impl #impl_generics ::core::ops::Drop for #ident #arguments #bounds {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: a value that is being dropped never moves again, and this is the one
                // place from which its `PinnedDrop` is meant to be called.
                let (this, from_drop) = unsafe {
                    (
                        ::core::pin::Pin::new_unchecked(self),
                        ::pin_init::__internal::OnlyCallFromDrop::new(),
                    )
                };
                ::pin_init::PinnedDrop::drop(this, from_drop);
            }
        }
    }
}

/// Two traits that overlap with themselves if the user wrote `Drop`, whose `&mut self` would let
/// a pinned field move, or `PinnedDrop`, which nobody would call. Their names make the message.
fn refuse_drop(item: &ItemStruct) -> TokenStream {
    let ident = &item.ident;
    let (impl_generics, arguments, bounds) = item.generics.split_for_impl();
    quote! {
        trait UsePinnedDropInsteadOfDrop {}
        #[allow(drop_bounds, reason = "the bound finds types that have a Drop of their own, which is the point")]
        impl<__T: ::core::ops::Drop + ?::core::marker::Sized> UsePinnedDropInsteadOfDrop for __T {}
        impl #impl_generics UsePinnedDropInsteadOfDrop for #ident #arguments #bounds {}

        trait PinnedDropNeedsTheArgumentOfPinData {}
        impl<__T: ::pin_init::PinnedDrop + ?::core::marker::Sized>
            PinnedDropNeedsTheArgumentOfPinData for __T {}
        impl #impl_generics PinnedDropNeedsTheArgumentOfPinData for #ident #arguments #bounds {}
    }
}

/// Whether the type is spelled like `core::marker::PhantomPinned`; an alias goes unnoticed.
fn is_phantom_pinned(ty: &Type) -> bool {
    let spelling = ty.to_token_stream().to_string().replace(' ', "");
    let from_root = spelling.trim_start_matches("::");
    let local = matches!(&*spelling, "PhantomPinned" | "marker::PhantomPinned");
    local || matches!(from_root, "core::marker::PhantomPinned" | "std::marker::PhantomPinned")
}

/// A warning. Stable procedural macros cannot emit one, so this calls a deprecated function.
fn warn_of_ineffective_pin(pin_field: &PinField<'_>) -> TokenStream {
    let message = format!(
        "field `{}` does not keep the struct from moving: `PhantomPinned` needs `#[pin]` for that",
        pin_field.name
    );
    let cfgs = pin_field.cfgs();
    quote_spanned! {pin_field.name.span()=>
        #(#cfgs)*
        const _: () = {
            #[deprecated(note = #message)]
            const fn phantom_pinned_without_pin() {}
            phantom_pinned_without_pin();
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{expand, is_phantom_pinned, Destructor};
    use syn::parse_quote;

    #[test]
    fn spellings_of_phantom_pinned_are_recognised() {
        assert!(is_phantom_pinned(&parse_quote!(PhantomPinned)));
        assert!(is_phantom_pinned(&parse_quote!(::core::marker::PhantomPinned)));
        assert!(is_phantom_pinned(&parse_quote!(std::marker::PhantomPinned)));
        assert!(!is_phantom_pinned(&parse_quote!(mine::PhantomPinned)));
        assert!(!is_phantom_pinned(&parse_quote!(::PhantomPinned)));
        assert!(!is_phantom_pinned(&parse_quote!(Box<PhantomPinned>)));
    }

    #[test]
    fn argument_other_than_pinned_drop_is_rejected() {
        assert!(syn::parse_str::<Destructor>("").is_ok());
        assert!(syn::parse_str::<Destructor>("PinnedDrop").is_ok());
        assert!(syn::parse_str::<Destructor>("Drop").is_err());
    }

    #[test]
    fn enum_tuple_struct_and_doubled_pin_are_errors() {
        let wrong: [syn::Item; 4] = [
            parse_quote!(
                enum Mode {
                    On,
                }
            ),
            parse_quote!(
                struct Pair(u8, u8);
            ),
            parse_quote!(
                struct Twice {
                    #[pin]
                    #[pin]
                    a: u8,
                }
            ),
            parse_quote!(
                struct Args {
                    #[pin(yes)]
                    a: u8,
                }
            ),
        ];

        let outputs = wrong.map(|item| expand(Destructor::None, item).to_string());

        assert!(outputs.iter().all(|output| output.contains("compile_error")));
    }
}
