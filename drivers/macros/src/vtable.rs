//! `#[vtable]`: lets a trait's user ask, by constants, which optional methods an implementation provides.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, ToTokens};
use syn::{
    parse_quote, Attribute, Error, Ident, ImplItem, ImplItemFn, Item, ItemImpl, ItemTrait, Result, TraitItem,
    TraitItemFn,
};

/// Adds to a trait or an `impl` block the items that make it a vtable.
pub(crate) fn vtable(item: Item) -> Result<TokenStream> {
    match item {
        Item::Trait(item) => declare(item),
        Item::Impl(item) => implement(item),
        other => Err(Error::new_spanned(other, "`#[vtable]` goes on a trait or on an `impl` block")),
    }
}

fn declare(mut item: ItemTrait) -> Result<TokenStream> {
    let mut added: Vec<TraitItem> = vec![parse_quote! {
        /// Has no default, so an `impl` block that forgot `#[vtable]` does not compile.
        const USE_VTABLE_ATTR: ();
    }];

    let names_its_owner =
        |item: &TraitItem| matches!(item, TraitItem::Type(associated) if associated.ident == "OwnerModule");
    if !item.items.iter().any(names_its_owner) {
        added.push(parse_quote! {
            /// The module that implements the trait; `#[vtable]` sets it to `crate::LocalModule`.
            type OwnerModule: ::kernel::module::ModuleMetadata;
        });
    }

    for method in item.items.iter().filter_map(trait_method) {
        let flag = flag_name(&method.sig.ident)?;
        let cfgs = cfgs(&method.attrs);
        let doc = format!("Whether the implementation overrides `{}`.", method.sig.ident);
        added.push(parse_quote! {
            #(#cfgs)*
            #[doc = #doc]
            const #flag: bool = false;
        });
    }

    item.items.append(&mut added);
    Ok(item.into_token_stream())
}

fn implement(mut item: ItemImpl) -> Result<TokenStream> {
    let given: Vec<&Ident> = item.items.iter().filter_map(explicit_name).collect();
    let mut added: Vec<ImplItem> = vec![parse_quote! { const USE_VTABLE_ATTR: () = (); }];

    if !given.iter().any(|name| *name == "OwnerModule") {
        added.push(parse_quote! { type OwnerModule = crate::LocalModule; });
    }

    for method in item.items.iter().filter_map(impl_method) {
        let flag = flag_name(&method.sig.ident)?;
        // Whoever writes the constant by hand has the last word.
        if !given.contains(&&flag) {
            let cfgs = cfgs(&method.attrs);
            added.push(ImplItem::Verbatim(quote! { #(#cfgs)* const #flag: bool = true; }));
        }
    }

    item.items.append(&mut added);
    Ok(item.into_token_stream())
}

fn trait_method(item: &TraitItem) -> Option<&TraitItemFn> {
    match item {
        TraitItem::Fn(method) => Some(method),
        _ => None,
    }
}

fn impl_method(item: &ImplItem) -> Option<&ImplItemFn> {
    match item {
        ImplItem::Fn(method) => Some(method),
        _ => None,
    }
}

/// The name of a constant or type that the author of the `impl` block wrote out.
fn explicit_name(item: &ImplItem) -> Option<&Ident> {
    match item {
        ImplItem::Const(constant) => Some(&constant.ident),
        ImplItem::Type(associated) => Some(&associated.ident),
        _ => None,
    }
}

fn cfgs(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
}

fn flag_name(method: &Ident) -> Result<Ident> {
    let name = method.to_string();
    if name.starts_with("r#") {
        return Err(Error::new(method.span(), "a method of a `#[vtable]` trait cannot have a raw name"));
    }
    Ok(format_ident!("HAS_{}", name.to_uppercase(), span = method.span()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(tokens: TokenStream) -> String {
        let expansion = vtable(syn::parse2(tokens).expect("an item")).expect("a trait or impl block");
        let item: Item = syn::parse2(expansion).expect("the expansion is an item");
        item.into_token_stream().to_string()
    }

    #[test]
    fn trait_gets_a_false_flag_per_method() {
        let text = expand(quote! { trait Ops { fn open(&self); fn close(&self) {} } });

        assert!(
            text.contains(
                &quote!(
                    const HAS_OPEN: bool = false;
                )
                .to_string()
            ),
            "{text}"
        );
        assert!(
            text.contains(
                &quote!(
                    const HAS_CLOSE: bool = false;
                )
                .to_string()
            ),
            "{text}"
        );
        assert!(
            text.contains(
                &quote!(
                    const USE_VTABLE_ATTR: ();
                )
                .to_string()
            ),
            "{text}"
        );
        assert!(
            text.contains(
                &quote!(
                    type OwnerModule: ::kernel::module::ModuleMetadata;
                )
                .to_string()
            ),
            "{text}"
        );
    }

    #[test]
    fn owner_declared_by_the_trait_is_kept() {
        let text = expand(quote! { trait Ops { type OwnerModule: Mine; } });

        assert_eq!(text.matches("OwnerModule").count(), 1, "{text}");
    }

    #[test]
    fn implementation_gets_a_true_flag_per_method() {
        let text = expand(quote! { impl Ops for Disk { fn open(&self) {} } });

        assert!(
            text.contains(
                &quote!(
                    const HAS_OPEN: bool = true;
                )
                .to_string()
            ),
            "{text}"
        );
        assert!(
            text.contains(
                &quote!(
                    const USE_VTABLE_ATTR: () = ();
                )
                .to_string()
            ),
            "{text}"
        );
        assert!(
            text.contains(
                &quote!(
                    type OwnerModule = crate::LocalModule;
                )
                .to_string()
            ),
            "{text}"
        );
        assert!(!text.contains("HAS_CLOSE"), "{text}");
    }

    #[test]
    fn flag_and_owner_written_by_hand_win() {
        let text = expand(quote! {
            impl Ops for Disk {
                type OwnerModule = Other;
                const HAS_OPEN: bool = cfg!(fast);
                fn open(&self) {}
            }
        });

        assert_eq!(text.matches("HAS_OPEN").count(), 1, "{text}");
        assert_eq!(text.matches("OwnerModule").count(), 1, "{text}");
    }

    #[test]
    fn flag_of_a_conditional_method_is_conditional() {
        let on_trait = expand(quote! { trait Ops { #[cfg(feature = "pm")] fn suspend(&self) {} } });
        let on_impl = expand(quote! { impl Ops for Disk { #[cfg(feature = "pm")] #[inline] fn suspend(&self) {} } });

        assert_eq!(on_trait.matches("# [cfg (feature = \"pm\")]").count(), 2, "{on_trait}");
        assert_eq!(on_impl.matches("# [cfg (feature = \"pm\")]").count(), 2, "{on_impl}");
        assert_eq!(on_impl.matches("inline").count(), 1, "{on_impl}");
    }

    #[test]
    fn structure_is_refused() {
        let error = vtable(parse_quote! { struct Disk; }).unwrap_err();

        assert_eq!(error.to_string(), "`#[vtable]` goes on a trait or on an `impl` block");
    }

    #[test]
    fn raw_method_name_is_refused() {
        let error = vtable(parse_quote! { trait Ops { fn r#type(&self) {} } }).unwrap_err();

        assert_eq!(error.to_string(), "a method of a `#[vtable]` trait cannot have a raw name");
    }
}
