//! `module!`: what a driver says about itself, turned into the items the kernel crate and the harness look for.

use std::ffi::CString;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    braced, bracketed,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    Error, Expr, Ident, LitCStr, LitStr, Result, Token, Type,
};

use crate::ordered_keys::OrderedKeys;

const MODULE_KEYS: &[&str] =
    &["type", "name", "authors", "description", "license", "alias", "firmware", "imports_ns", "params"];

const PARAM_KEYS: &[&str] = &["default", "description"];

/// The types Linux has parameter operations for.
const PARAM_TYPES: &[&str] = &["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "isize", "usize", "bool"];

/// The parsed argument of `module!`.
pub(crate) struct ModuleInfo {
    module_type: Type,
    name: LitStr,
    name_cstr: LitCStr,
    authors: Vec<LitStr>,
    description: Option<LitStr>,
    license: LitStr,
    aliases: Vec<LitStr>,
    firmware: Vec<LitStr>,
    imports_ns: Vec<LitStr>,
    params: Vec<Param>,
}

/// One entry of `params`.
struct Param {
    name: Ident,
    value_type: Ident,
    default: Expr,
    description: LitStr,
}

impl Parse for ModuleInfo {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut keys = OrderedKeys::new(input, MODULE_KEYS);
        let module_type = keys.required("type", Parse::parse)?;
        let name = keys.required("name", ascii)?;
        let info = Self {
            module_type,
            name_cstr: c_string(&name)?,
            name,
            authors: keys.optional("authors", ascii_list)?.unwrap_or_default(),
            description: keys.optional("description", Parse::parse)?,
            license: keys.required("license", ascii)?,
            aliases: keys.optional("alias", ascii_list)?.unwrap_or_default(),
            firmware: keys.optional("firmware", ascii_list)?.unwrap_or_default(),
            imports_ns: keys.optional("imports_ns", ascii_list)?.unwrap_or_default(),
            params: keys.optional("params", param_list)?.unwrap_or_default(),
        };
        keys.finish()?;
        Ok(info)
    }
}

impl Parse for Param {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        let value_type: Ident = input.parse()?;
        if !PARAM_TYPES.iter().any(|known| value_type == known) {
            let known = PARAM_TYPES.join("`, `");
            let complaint = format!("unsupported parameter type `{value_type}`; the supported types are `{known}`");
            return Err(Error::new(value_type.span(), complaint));
        }

        let body;
        braced!(body in input);
        let mut keys = OrderedKeys::new(&body, PARAM_KEYS);
        let param = Self {
            name,
            value_type,
            default: keys.required("default", Parse::parse)?,
            description: keys.required("description", Parse::parse)?,
        };
        keys.finish()?;
        Ok(param)
    }
}

fn ascii(input: ParseStream<'_>) -> Result<LitStr> {
    let literal: LitStr = input.parse()?;
    if literal.value().is_ascii() {
        Ok(literal)
    } else {
        Err(Error::new(literal.span(), "only ASCII characters are allowed here"))
    }
}

fn ascii_list(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let list;
    bracketed!(list in input);
    let entries = Punctuated::<LitStr, Token![,]>::parse_terminated_with(&list, ascii)?;
    Ok(entries.into_iter().collect())
}

fn param_list(input: ParseStream<'_>) -> Result<Vec<Param>> {
    let list;
    braced!(list in input);
    let entries = Punctuated::<Param, Token![,]>::parse_terminated(&list)?;
    let params: Vec<Param> = entries.into_iter().collect();
    for (index, param) in params.iter().enumerate() {
        if params[..index].iter().any(|earlier| earlier.name == param.name) {
            let complaint = format!("duplicate parameter `{}`", param.name);
            return Err(Error::new(param.name.span(), complaint));
        }
    }
    Ok(params)
}

fn c_string(literal: &LitStr) -> Result<LitCStr> {
    match CString::new(literal.value()) {
        Ok(text) => Ok(LitCStr::new(&text, literal.span())),
        Err(_) => Err(Error::new(literal.span(), "the name must not contain a NUL character")),
    }
}

/// The items `module!` stands for.
pub(crate) fn module(info: &ModuleInfo) -> TokenStream {
    let metadata = metadata_items(info);
    let statics = info.params.iter().map(param_static);
    let loadable = loadable_item(info);

    quote! {
        #metadata

        mod module_parameters {
            #(#statics)*
        }

        #loadable
    }
}

/// What the kernel crate's own macros look up at the root of the driver crate.
fn metadata_items(info: &ModuleInfo) -> TokenStream {
    let ModuleInfo { module_type, name_cstr, .. } = info;

    quote! {
        /// The name that `pr_info!` and its siblings put before each line, NUL-terminated.
        const __LOG_PREFIX: &[u8] = #name_cstr.to_bytes_with_nul();

        /// The type that `module!` declared, under the name by which `#[vtable]` finds it.
        type LocalModule = #module_type;

        impl ::kernel::module::ModuleMetadata for #module_type {
            const NAME: &'static ::kernel::str::CStr = #name_cstr;

            // SAFETY: A null pointer is what a module that is built in has; nothing dereferences it.
            const THIS_MODULE: ::kernel::module::ThisModule =
                unsafe { ::kernel::module::ThisModule::from_ptr(::core::ptr::null_mut()) };
        }
    }
}

fn param_static(param: &Param) -> TokenStream {
    let Param { name, value_type, default, .. } = param;

    quote! {
        #[allow(non_upper_case_globals, reason = "parameters keep the spelling users type")]
        pub(crate) static #name: ::kernel::module_param::ModuleParamAccess<#value_type> =
            ::kernel::module_param::ModuleParamAccess::new(#default);
    }
}

/// What stands for init and exit symbols and the `.modinfo` section: several drivers share one process, so nothing
/// here may be a global symbol.
fn loadable_item(info: &ModuleInfo) -> TokenStream {
    let ModuleInfo { name, license, authors, aliases, firmware, imports_ns, .. } = info;
    let description = match &info.description {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    };
    let params = info.params.iter().map(|param| {
        let Param { name, description, .. } = param;
        let name_text = name.unraw().to_string();
        let type_text = param.value_type.to_string();
        quote! {
            ::kernel::module_param::param_def(&module_parameters::#name, #name_text, #type_text, #description)
        }
    });

    quote! {
        /// How the harness finds, configures and starts this module.
        #[doc(hidden)]
        pub static BRINGUP_MODULE: ::kernel::module::Loadable = ::kernel::module::Loadable {
            name: #name,
            license: #license,
            authors: &[#(#authors),*],
            description: #description,
            aliases: &[#(#aliases),*],
            firmware: &[#(#firmware),*],
            imports_ns: &[#(#imports_ns),*],
            params: &[#(#params),*],
            init: ::kernel::module::init_module::<LocalModule>,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(tokens: TokenStream) -> String {
        match syn::parse2::<ModuleInfo>(tokens) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn expand(tokens: TokenStream) -> syn::File {
        let info = syn::parse2::<ModuleInfo>(tokens).expect("valid input");
        syn::parse2(module(&info)).expect("the expansion is a list of items")
    }

    fn names_of(file: &syn::File) -> Vec<String> {
        let name = |item: &syn::Item| match item {
            syn::Item::Const(item) => item.ident.to_string(),
            syn::Item::Type(item) => item.ident.to_string(),
            syn::Item::Static(item) => item.ident.to_string(),
            syn::Item::Mod(item) => item.ident.to_string(),
            _ => "impl".to_owned(),
        };
        file.items.iter().map(name).collect()
    }

    #[test]
    fn smallest_module_expands_to_the_five_root_items() {
        let file = expand(quote! { type: Sample, name: "sample", license: "GPL", });

        let names = names_of(&file);

        assert_eq!(names, ["__LOG_PREFIX", "LocalModule", "impl", "module_parameters", "BRINGUP_MODULE"]);
    }

    #[test]
    fn every_key_is_accepted_in_order() {
        let outcome = error_of(quote! {
            type: crate::Sample,
            name: "sample",
            authors: ["Ada", "Grace",],
            description: "Größe",
            license: "GPL v2",
            alias: ["other"],
            firmware: ["a.bin", "b.bin"],
            imports_ns: ["DMA_BUF"],
            params: {
                depth: u32 { default: 1 << 4, description: "Queue depth", },
                polled: bool { default: false, description: "Poll", },
            },
        });

        assert_eq!(outcome, "accepted");
    }

    #[test]
    fn parameter_static_is_crate_visible_and_typed() {
        let file = expand(quote! {
            type: Sample, name: "sample", license: "GPL",
            params: { depth: u32 { default: 16, description: "Queue depth", } },
        });

        let text = quote!(#file).to_string();

        let wanted = quote! {
            pub(crate) static depth: ::kernel::module_param::ModuleParamAccess<u32> =
                ::kernel::module_param::ModuleParamAccess::new(16);
        };
        assert!(text.contains(&wanted.to_string()), "{text}");
    }

    #[test]
    fn expansion_defines_no_global_symbol() {
        let file = expand(quote! {
            type: Sample, name: "my-sample", license: "GPL", params: { a: i8 { default: 1, description: "A", } },
        });

        let text = quote!(#file).to_string();

        assert!(!text.contains("no_mangle") && !text.contains("link_section"), "{text}");
    }

    #[test]
    fn license_is_required() {
        let error = error_of(quote! { type: Sample, name: "sample", description: "d", });

        assert!(error.contains("missing required key `license`"), "{error}");
    }

    #[test]
    fn author_is_not_a_key() {
        let error = error_of(quote! { type: Sample, name: "sample", author: "Ada", license: "GPL", });

        assert!(error.starts_with("unknown key `author`"), "{error}");
    }

    #[test]
    fn license_before_description_is_out_of_order() {
        let error = error_of(quote! { type: Sample, name: "s", license: "GPL", description: "d", });

        assert!(error.starts_with("key `description` is out of order"), "{error}");
    }

    #[test]
    fn name_that_is_not_ascii_is_refused() {
        let error = error_of(quote! { type: Sample, name: "gerät", license: "GPL", });

        assert_eq!(error, "only ASCII characters are allowed here");
    }

    #[test]
    fn name_with_a_nul_is_refused() {
        let error = error_of(quote! { type: Sample, name: "a\0b", license: "GPL", });

        assert_eq!(error, "the name must not contain a NUL character");
    }

    #[test]
    fn parameter_type_without_operations_is_refused() {
        let error = error_of(quote! {
            type: Sample, name: "s", license: "GPL", params: { a: u128 { default: 1, description: "A", } },
        });

        assert!(error.starts_with("unsupported parameter type `u128`"), "{error}");
    }

    #[test]
    fn parameter_without_description_is_refused() {
        let error = error_of(quote! {
            type: Sample, name: "s", license: "GPL", params: { a: u8 { default: 1, } },
        });

        assert!(error.contains("missing required key `description`"), "{error}");
    }

    #[test]
    fn parameter_given_twice_is_refused() {
        let error = error_of(quote! {
            type: Sample, name: "s", license: "GPL",
            params: { a: u8 { default: 1, description: "A", }, a: u8 { default: 1, description: "A", } },
        });

        assert_eq!(error, "duplicate parameter `a`");
    }
}
