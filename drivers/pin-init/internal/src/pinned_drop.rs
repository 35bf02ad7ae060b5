//! `#[pinned_drop]`: lets a driver write `PinnedDrop` as a safe impl with a plain `drop`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{parse_quote, spanned::Spanned, Error, ImplItem, ItemImpl, Path, Token};

pub(crate) fn expand(mut block: ItemImpl) -> TokenStream {
    let mut complaints = Vec::new();
    if let Some(keyword) = block.unsafety {
        complaints.push(Error::new(keyword.span, "`PinnedDrop` is implemented without `unsafe`"));
    }
    match &mut block.trait_ {
        Some((negation, path, _)) => {
            if let Some(negation) = negation {
                complaints.push(Error::new(negation.span, "`PinnedDrop` cannot be negated"));
            }
            if names_the_trait(path) {
                *path = parse_quote!(::pin_init::PinnedDrop);
            } else {
                let message = "`#[pinned_drop]` stands on `impl PinnedDrop for ...`";
                complaints.push(Error::new_spanned(path, message));
            }
        }
        None => complaints.push(Error::new(
            block.self_ty.span(),
            "expected `impl PinnedDrop for ...`, found an impl without a trait",
        )),
    }
    if let Some(error) = complaints.into_iter().reduce(|mut all, next| {
        all.combine(next);
        all
    }) {
        return error.into_compile_error();
    }

    // The trait is `unsafe` so that nobody implements it past this macro, and its `drop` takes a
    // token so that nobody but the generated `Drop` calls it. Both are added here.
    block.unsafety = Some(Token![unsafe](proc_macro2::Span::call_site()));
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            if function.sig.ident == "drop" {
                function.sig.inputs.push(parse_quote!(_: ::pin_init::__internal::OnlyCallFromDrop));
            }
        }
    }
    quote!(#block)
}

/// Whether the path is `PinnedDrop`, `pin_init::PinnedDrop` or `::pin_init::PinnedDrop`.
fn names_the_trait(path: &Path) -> bool {
    let spelling = quote!(#path).to_string().replace(' ', "");
    matches!(spelling.as_str(), "PinnedDrop" | "pin_init::PinnedDrop" | "::pin_init::PinnedDrop")
}

#[cfg(test)]
mod tests {
    use super::expand;
    use quote::quote;
    use syn::parse_quote;

    fn is_rejected(block: syn::ItemImpl) -> bool {
        expand(block).to_string().contains("compile_error")
    }

    #[test]
    fn plain_impl_becomes_unsafe_and_takes_the_token() {
        let block = parse_quote!(
            impl<T> PinnedDrop for Foo<T> {
                fn drop(self: Pin<&mut Self>) {}
            }
        );

        let output = expand(block).to_string();

        let expected = quote!(
            unsafe impl<T> ::pin_init::PinnedDrop for Foo<T> {
                fn drop(self: Pin<&mut Self>, _: ::pin_init::__internal::OnlyCallFromDrop) {}
            }
        );
        assert_eq!(output, expected.to_string());
    }

    #[test]
    fn wrong_impls_are_rejected() {
        assert!(is_rejected(parse_quote!(
            unsafe impl PinnedDrop for Foo {}
        )));
        assert!(is_rejected(parse_quote!(impl !PinnedDrop for Foo {})));
        assert!(is_rejected(parse_quote!(impl Drop for Foo {})));
        assert!(is_rejected(parse_quote!(impl kernel::PinnedDrop for Foo {})));
        assert!(is_rejected(parse_quote!(impl PinnedDrop<u8> for Foo {})));
        assert!(is_rejected(parse_quote!(impl Foo {})));
    }
}
