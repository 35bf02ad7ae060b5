//! `#[derive(Zeroable)]` and `#[derive(MaybeZeroable)]`.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::{parse_quote, spanned::Spanned, Data, DeriveInput, Error, Generics, Result, Type};

/// `#[derive(Zeroable)]`: each field must be `Zeroable`, or the error stands at its type.
pub(crate) fn derive(item: DeriveInput) -> Result<TokenStream> {
    let types = field_types(&item)?;
    let generics = with_zeroable_parameters(item.generics);
    let implementation = implementation(&item.ident, &generics);
    let (impl_generics, _, bounds) = generics.split_for_impl();
    let asserts = types.iter().map(|ty| {
        let assert = quote_spanned!(ty.span()=> assert_zeroable);
        quote!(#assert::<#ty>();)
    });
    Ok(quote! {
        #implementation
        const _: () = {
            fn assert_zeroable<__T: ?::core::marker::Sized + ::pin_init::Zeroable>() {}
            #[allow(dead_code, clippy::extra_unused_type_parameters, clippy::extra_unused_lifetimes)]
            fn every_field_is_zeroable #impl_generics () #bounds {
                #(#asserts)*
            }
        };
    })
}

/// `#[derive(MaybeZeroable)]`: no impl, and no error either, unless all fields are `Zeroable`.
pub(crate) fn derive_if_possible(item: DeriveInput) -> Result<TokenStream> {
    let types = field_types(&item)?;
    let mut generics = with_zeroable_parameters(item.generics);
    for ty in types {
        // The bound lifetime is unused. It keeps a bound on a concrete type from being decided
        // where it stands, which is an error if it does not hold.
        generics.make_where_clause().predicates.push(parse_quote!(#ty: for<'__any> ::pin_init::Zeroable));
    }
    Ok(implementation(&item.ident, &generics))
}

fn field_types(item: &DeriveInput) -> Result<Vec<Type>> {
    let types = match &item.data {
        Data::Struct(data) => data.fields.iter().map(|field| field.ty.clone()).collect(),
        Data::Union(data) => data.fields.named.iter().map(|field| field.ty.clone()).collect(),
        Data::Enum(data) => {
            return Err(Error::new(
                data.enum_token.span,
                "`Zeroable` cannot be derived for an enum: zero need not be a variant",
            ));
        }
    };
    Ok(types)
}

fn with_zeroable_parameters(mut generics: Generics) -> Generics {
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::pin_init::Zeroable));
    }
    generics
}

fn implementation(name: &Ident, generics: &Generics) -> TokenStream {
    let (impl_generics, arguments, bounds) = generics.split_for_impl();
    quote! {
        // SAFETY: all fields may be zero, and so may padding.
        #[automatically_derived]
        unsafe impl #impl_generics ::pin_init::Zeroable for #name #arguments #bounds {}
    }
}
