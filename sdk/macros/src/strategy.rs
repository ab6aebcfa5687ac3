//! `#[strategy]`: the export `agent` and the manifest.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

use crate::attributes::Opts;
use crate::manifest::{Kind, Manifest};

pub(crate) fn expand(attributes: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut file = None;
    for option in syn::parse2::<Opts>(attributes)?.0 {
        if option.key != "manifest" {
            return Err(option.unknown("manifest"));
        }
        file = Some(option.text()?);
    }
    let function: ItemFn = syn::parse2(item)?;
    let ident = &function.sig.ident;
    let file =
        file.ok_or_else(|| syn::Error::new_spanned(ident, "write `#[strategy(manifest = \"manifest.toml\")]`"))?;
    let manifest = Manifest::read(&file, Kind::Strategy)?;
    let section = manifest.tokens();
    let (name, version, description) = (
        manifest.text("name"),
        manifest.text("version"),
        manifest.text("description"),
    );
    let (toolsets, spaces) = (manifest.toolsets(), manifest.spaces());
    Ok(quote! {
        // The task comes by value, whether or not the function needs it so.
        #[allow(clippy::needless_pass_by_value)]
        #function

        const _: () = {
            #section

            struct Exported;

            impl ::hermes_sdk::__private::bindings::agent::Guest for Exported {
                fn describe() -> ::hermes_sdk::__private::bindings::agent::Description {
                    ::hermes_sdk::__private::bindings::agent::Description {
                        name: #name.into(),
                        version: #version.into(),
                        description: #description.into(),
                        toolsets: ::std::vec![#(#toolsets.into()),*],
                        spaces: ::std::vec![#(#spaces.into()),*],
                    }
                }

                fn run(
                    task: ::hermes_sdk::Task,
                ) -> ::core::result::Result<::hermes_sdk::Report, ::hermes_sdk::Error> {
                    ::hermes_sdk::session::log_panics();
                    #ident(task)
                }
            }

            // Keeps what only a component uses from counting as unused in a native build.
            const _: Exported = Exported;

            #[cfg(target_arch = "wasm32")]
            ::hermes_sdk::__private::bindings::strategy::export_strategy!(
                Exported with_types_in ::hermes_sdk::__private::bindings::strategy
            );
        };
    })
}
