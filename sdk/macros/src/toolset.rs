//! `tools!`: the export `toolset` and the manifest.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Path, Token, bracketed};

use crate::manifest::{Kind, Manifest};

struct Input {
    manifest: LitStr,
    tools: Vec<Path>,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (mut manifest, mut tools) = (None, None);
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "manifest" => manifest = Some(input.parse()?),
                "tools" => {
                    let list;
                    bracketed!(list in input);
                    tools = Some(
                        Punctuated::<Path, Token![,]>::parse_terminated(&list)?
                            .into_iter()
                            .collect(),
                    );
                }
                _ => {
                    return Err(syn::Error::new(
                        key.span(),
                        "there are `manifest = \"…\"` and `tools = […]`",
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let missing = |what: &str| input.error(format!("{what} is missing"));
        Ok(Self {
            manifest: manifest.ok_or_else(|| missing("`manifest = \"manifest.toml\"`"))?,
            tools: tools.ok_or_else(|| missing("`tools = [name, …]`"))?,
        })
    }
}

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let Input { manifest, tools } = syn::parse2(input)?;
    let section = Manifest::read(&manifest, Kind::Tools)?.tokens();
    Ok(quote! {
        const _: () = {
            #section

            struct Exported;

            impl ::hermes_sdk::__private::bindings::toolset::Guest for Exported {
                fn list_tools() -> ::std::vec::Vec<::hermes_sdk::ToolDef> {
                    ::std::vec![#(::hermes_sdk::__private::definition::<#tools>()),*]
                }

                fn call(
                    call: ::hermes_sdk::ToolCall,
                ) -> ::core::result::Result<::hermes_sdk::ToolOutput, ::hermes_sdk::Error> {
                    #(if call.name == <#tools as ::hermes_sdk::Tool>::NAME {
                        return ::hermes_sdk::__private::call::<#tools>(&call.arguments);
                    })*
                    ::core::result::Result::Err(::hermes_sdk::Error::not_found(::std::format!(
                        "there is no tool `{}`", call.name
                    )))
                }
            }

            // Keeps what only a component uses from counting as unused in a native build.
            const _: Exported = Exported;

            #[cfg(target_arch = "wasm32")]
            ::hermes_sdk::__private::bindings::tool::export_toolset!(
                Exported with_types_in ::hermes_sdk::__private::bindings::tool
            );
        };
    })
}
