//! `#[args]`: the derives of a tool's arguments, by paths that need no dependency of the author's.

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let item: syn::Item = syn::parse2(item)?;
    // A field that is not known is more likely a slip of the model than a wish; the schema says so too.
    let closed = match &item {
        syn::Item::Struct(_) => quote!(#[serde(deny_unknown_fields)]),
        syn::Item::Enum(_) => TokenStream::new(),
        other => {
            return Err(syn::Error::new_spanned(
                other,
                "`#[args]` stands before a struct or an enum",
            ));
        }
    };
    Ok(quote! {
        #[derive(::hermes_sdk::__private::serde::Deserialize, ::hermes_sdk::__private::schemars::JsonSchema)]
        #[serde(crate = "::hermes_sdk::__private::serde")]
        #[schemars(crate = "::hermes_sdk::__private::schemars")]
        #closed
        #item
    })
}
