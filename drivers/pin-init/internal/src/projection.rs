//! The `project` method of a `#[pin_data]` struct: from one pinned reference to one per field.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{parse_quote, Field, ItemStruct};

use crate::pin_data::PinField;

pub(crate) fn generate(item: &ItemStruct, fields: &[PinField<'_>]) -> TokenStream {
    let ItemStruct { vis, ident, .. } = item;
    let (impl_generics, arguments, bounds) = item.generics.split_for_impl();
    let mut decl = item.generics.clone();
    decl.params.insert(0, parse_quote!('__pin));
    let (_, projected_arguments, decl_bounds) = decl.split_for_impl();
    let projection = format_ident!("{}Projection", ident);

    let declarations = fields.iter().map(|pin_field| {
        let Field { vis, ty, .. } = pin_field.field;
        let name = pin_field.name;
        let cfgs = pin_field.cfgs();
        let reference =
            if pin_field.pinned { quote!(::core::pin::Pin<&'__pin mut #ty>) } else { quote!(&'__pin mut #ty) };
        quote!(#(#cfgs)* #vis #name: #reference,)
    });
    let values = fields.iter().map(|pin_field| {
        let name = pin_field.name;
        let cfgs = pin_field.cfgs();
        let value = if pin_field.pinned {
            // The field is pinned with the struct and nobody else hands out `&mut` to it.
            quote!(unsafe { ::core::pin::Pin::new_unchecked(&mut this.#name) })
        } else {
            quote!(&mut this.#name)
        };
        quote!(#(#cfgs)* #name: #value,)
    });
    let struct_doc = format!(" The fields of a pinned [`{ident}`], each by its own reference.");
    let method_doc = method_doc(fields);
    let declaration = quote! {
        #[doc = #struct_doc]
        #[doc(hidden)]
        #[allow(dead_code, non_snake_case, explicit_outlives_requirements)]
        #vis struct #projection #decl #decl_bounds {
            #(#declarations)*
            ___pin_phantom_data: ::core::marker::PhantomData<&'__pin mut ()>,
        }
    };
    let body = quote! {
        // SAFETY: nothing is moved out of `this`, and its pinned fields leave this function
        // behind `Pin` only.
        let this = unsafe { ::core::pin::Pin::get_unchecked_mut(self) };
        #projection {
            ___pin_phantom_data: ::core::marker::PhantomData,
            #(#values)*
        }
    };
    quote! {
        #declaration

        #[allow(dead_code)]
        impl #impl_generics #ident #arguments #bounds {
            #[doc = #method_doc]
            #[inline]
            #vis fn project<'__pin>(
                self: ::core::pin::Pin<&'__pin mut Self>,
            ) -> #projection #projected_arguments { #body }
        }
    }
}

fn method_doc(fields: &[PinField<'_>]) -> String {
    let list = |pinned: bool| {
        let names: Vec<_> =
            fields.iter().filter(|field| field.pinned == pinned).map(|field| format!("`{}`", field.name)).collect();
        match names.is_empty() {
            true => String::from("none"),
            false => names.join(", "),
        }
    };
    format!(
        " Splits a pinned reference into one for each field.\n\n Pinned: {}. Not pinned: {}.",
        list(true),
        list(false)
    )
}
