//! What `pin_init!` and `init!` expand to: a closure that fills a slot one field after the other.
//!
//! Each initialised field is held by a guard until all of them stand, so that an error or a panic
//! drops the fields done so far, last one first. Each guard also lends its field to later steps
//! under the field's own name.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{parse_quote, spanned::Spanned, Type};

use crate::initializer::{Action, Initializer, Step};

/// Which of the two macros is being expanded.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pinning {
    /// `pin_init!`: fields are pinned as the struct's `#[pin_data]` says.
    Structural,
    /// `init!`: the struct may still move, so no field is pinned.
    Nothing,
}

pub(crate) fn expand(initializer: &Initializer, pinning: Pinning) -> TokenStream {
    let Initializer { this, path, steps, zero_rest, error } = initializer;
    let names = Names::new();
    let slot = &names.slot;
    let table = &names.table;

    let error: Type = match error {
        Some(named) => named.clone(),
        None => parse_quote!(::core::convert::Infallible),
    };
    let (constructor, get_table) = match pinning {
        Pinning::Structural => (quote!(pin_initializer::<_, #error, _>), "__pin_fields"),
        Pinning::Nothing => (quote!(initializer::<_, #error>), "__all_fields"),
    };
    let get_table = Ident::new(get_table, ours_at(path.span()));

    let zero = zero_rest.map(|place| {
        quote_spanned! {ours_at(place)=>
            // SAFETY: the slot is valid for writes until the initialiser returns.
            unsafe { ::pin_init::__internal::zero_slot(#slot) };
        }
    });
    let bind_this = this.as_ref().map(|this| {
        quote! {
            // SAFETY: the slot is a valid address, so it is not null.
            let #this = unsafe { ::core::ptr::NonNull::new_unchecked(#slot) };
        }
    });
    let run_steps = steps.iter().map(|step| run_step(step, pinning, &names));
    let release_guards = steps.iter().filter_map(|step| {
        let guard = guard_name(step.field()?);
        let cfgs = step.cfgs();
        Some(quote!(#(#cfgs)* #guard.release();))
    });
    let check = check_fields(initializer, &names);

    quote! {{
        ::pin_init::__internal::#constructor(
            {
                use ::pin_init::__internal::FieldsOf as _;
                #path::#get_table()
            },
            move |#table, #slot| {
                #zero
                #bind_this
                #(#run_steps)*
                #(#release_guards)*
                #check
                // SAFETY: each field has been initialised, as `check` has the compiler verify, or
                // the whole slot has been zeroed and is `Zeroable`; and no guard is left.
                ::core::result::Result::Ok(unsafe { ::pin_init::__internal::InitOk::new() })
            },
        )
    }}
}

/// The variables of the expansion.
struct Names {
    /// The table of field accessors; out of reach of the user's expressions.
    table: Ident,
    /// The pointer to the struct. It is named at the call site, as Linux does: user code within a
    /// direct `pin_init!` sees it and must not count on a variable of this name from outside.
    slot: Ident,
}

impl Names {
    fn new() -> Self {
        Self { table: Ident::new("__fields", Span::mixed_site()), slot: Ident::new("slot", Span::call_site()) }
    }
}

/// The user's place in the source with our identity, so that an error is shown there while lints
/// against `unsafe` and the like know that the user did not write the code.
fn ours_at(user: Span) -> Span {
    user.resolved_at(Span::call_site())
}

fn guard_name(field: &Ident) -> Ident {
    format_ident!("__guard_of_{field}", span = Span::mixed_site())
}

/// Runs one step and, if it was for a field, lends the field to the steps after it.
fn run_step(step: &Step, pinning: Pinning, names: &Names) -> TokenStream {
    let attrs = &step.attrs;
    let (field, fill) = match &step.action {
        Action::Code(block) => return quote!(#(#attrs)* #block),
        Action::Write { field, value } => {
            let place = field_slot(field, pinning, names);
            let value = match value {
                Some(value) => quote!(#value),
                None => quote!(#field),
            };
            (field, quote!(#place.write(#value)))
        }
        Action::Run { field, init } => {
            let place = field_slot(field, pinning, names);
            let propagate = quote_spanned!(ours_at(init.span())=> ?);
            (field, quote!(#place.init(#init)#propagate))
        }
    };
    let guard = guard_name(field);
    let cfgs = step.cfgs();
    quote! {
        #(#attrs)*
        let mut #guard = #fill;
        #(#cfgs)*
        #[allow(unused_variables, non_snake_case, reason = "the names are the fields' own, and not every field is used by a later one")]
        let #field = #guard.lend();
    }
}

/// An expression for the still empty slot of `field`.
fn field_slot(field: &Ident, pinning: Pinning, names: &Names) -> TokenStream {
    let Names { table, slot } = names;
    let place = match pinning {
        Pinning::Structural => quote!(#table.#field(#slot)),
        Pinning::Nothing => quote! {
            ::pin_init::__internal::Slot::<::pin_init::__internal::Unpinned, _>::new(
                &raw mut (*#slot).#field,
            )
        },
    };
    // SAFETY comment of the expansion: the slot is valid and, as `check_fields` verifies, each
    // field in it is aligned and filled once.
    quote!((unsafe { #place }))
}

/// Code that never runs and only compiles if every field is named exactly once (at most once, if
/// the rest is zeroed) and none is under-aligned.
fn check_fields(initializer: &Initializer, names: &Names) -> TokenStream {
    let Initializer { path, steps, zero_rest, .. } = initializer;
    let slot = &names.slot;
    let (literal_fields, borrows): (Vec<_>, Vec<_>) = steps
        .iter()
        .filter_map(|step| {
            let field = step.field()?;
            let cfgs: Vec<_> = step.cfgs().collect();
            Some((quote!(#(#cfgs)* #field: loop {},), quote!(#(#cfgs)* let _ = unsafe { &(*#slot).#field };)))
        })
        .unzip();
    let rest = zero_rest.map(|_| quote!(..unsafe { ::core::mem::zeroed() }));
    quote! {
        #[allow(unreachable_code, clippy::diverging_sub_expression, clippy::needless_update, reason = "it is only compiled, to check that no field is forgotten")]
        ::pin_init::__internal::never_run(#slot, || {
            #(#borrows)*
            #path { #(#literal_fields)* #rest }
        });
    }
}
