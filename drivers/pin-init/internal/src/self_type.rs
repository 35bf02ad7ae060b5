//! Spells `Self` out, for types that are copied from a struct into the items generated beside it.

use syn::{
    parse_quote, token,
    visit_mut::{self, VisitMut},
    DeriveInput, ExprPath, Item, ItemStruct, Path, QSelf, Token, Type, TypePath,
};

/// A copy of `item` in whose generics and fields `Self` is replaced by the struct's full name.
pub(crate) fn spelled_out(item: &ItemStruct) -> ItemStruct {
    let mut copy = item.clone();
    let name = &item.ident;
    let (_, arguments, _) = item.generics.split_for_impl();
    let mut visitor = SpellOut { name: parse_quote!(#name #arguments) };
    visitor.visit_generics_mut(&mut copy.generics);
    visitor.visit_fields_mut(&mut copy.fields);
    copy
}

struct SpellOut {
    name: Type,
}

impl SpellOut {
    /// Turns `Self::Rest` into `<Name>::Rest`, which is valid both as a type and as an expression.
    fn qualify(&self, qself: &mut Option<QSelf>, path: &mut Path) {
        if qself.is_some() || path.segments.len() < 2 || path.segments[0].ident != "Self" {
            return;
        }
        *qself = Some(QSelf {
            lt_token: token::Lt::default(),
            ty: Box::new(self.name.clone()),
            position: 0,
            as_token: None,
            gt_token: token::Gt::default(),
        });
        path.leading_colon = Some(<Token![::]>::default());
        path.segments = path.segments.iter().skip(1).cloned().collect();
    }
}

impl VisitMut for SpellOut {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Path(TypePath { qself: None, path }) if path.is_ident("Self") => {
                *ty = self.name.clone();
            }
            _ => visit_mut::visit_type_mut(self, ty),
        }
    }

    fn visit_type_path_mut(&mut self, ty: &mut TypePath) {
        visit_mut::visit_type_path_mut(self, ty);
        self.qualify(&mut ty.qself, &mut ty.path);
    }

    fn visit_expr_path_mut(&mut self, expr: &mut ExprPath) {
        visit_mut::visit_expr_path_mut(self, expr);
        self.qualify(&mut expr.qself, &mut expr.path);
    }

    // Within a nested item `Self` means that item.
    fn visit_item_mut(&mut self, _: &mut Item) {}
    fn visit_derive_input_mut(&mut self, _: &mut DeriveInput) {}
}

#[cfg(test)]
mod tests {
    use super::spelled_out;
    use quote::ToTokens;
    use syn::{parse_quote, ItemStruct};

    fn first_field_type(item: &ItemStruct) -> String {
        let field = spelled_out(item).fields.into_iter().next().unwrap();
        field.ty.to_token_stream().to_string()
    }

    #[test]
    fn bare_self_becomes_the_type_with_its_arguments() {
        let item = parse_quote!(
            struct Node<'a, T> {
                next: Option<&'a Self>,
                value: T,
            }
        );

        assert_eq!(first_field_type(&item), "Option < & 'a Node < 'a , T > >");
    }

    #[test]
    fn path_through_self_is_qualified() {
        let item = parse_quote!(
            struct Ring {
                slots: [u8; Self::LEN],
            }
        );

        assert_eq!(first_field_type(&item), "[u8 ; < Ring > :: LEN]");
    }

    #[test]
    fn self_in_a_trait_cast_is_replaced() {
        let item = parse_quote!(
            struct Holder {
                data: <Self as Driver>::Data,
            }
        );

        assert_eq!(first_field_type(&item), "< Holder as Driver > :: Data");
    }
}
