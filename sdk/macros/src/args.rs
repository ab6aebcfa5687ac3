//! `#[args]`: the derives of a tool's arguments, by paths that need no dependency of the author's.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Fields, ItemStruct};

pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let item: syn::Item = syn::parse2(item)?;
    // A field that is not known is more likely a slip of the model than a wish; the schema says so too.
    let closed = match &item {
        syn::Item::Struct(item) if is_closed(item)? => quote!(#[serde(deny_unknown_fields)]),
        syn::Item::Struct(_) => TokenStream::new(),
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

/// Whether unknown fields are refused by us: not where a field takes what the others leave, which serde can't do both of,
/// nor where the author has said so already.
fn is_closed(item: &ItemStruct) -> syn::Result<bool> {
    let Fields::Named(fields) = &item.fields else {
        return Ok(false);
    };
    let mut open = says(&item.attrs, &["deny_unknown_fields", "transparent"])?;
    for field in &fields.named {
        open |= says(&field.attrs, &["flatten"])?;
    }
    Ok(!open)
}

/// Whether a `#[serde(…)]` has one of these words.
fn says(attributes: &[Attribute], words: &[&str]) -> syn::Result<bool> {
    let mut found = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            found |= words.iter().any(|word| meta.path.is_ident(word));
            // Values and lists of other words are serde's affair.
            if meta.input.peek(syn::Token![=]) {
                meta.value()?.parse::<syn::Expr>().map(drop)
            } else if meta.input.peek(syn::token::Paren) {
                meta.input.parse::<proc_macro2::Group>().map(drop)
            } else {
                Ok(())
            }
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: &str) -> String {
        expand(item.parse().expect("tokens")).expect("an item").to_string()
    }

    #[test]
    fn a_struct_is_closed_unless_a_field_is_flattened() {
        let closed = |item: &str| expanded(item).matches("deny_unknown_fields").count();
        assert_eq!(closed("struct A { b: u8 }"), 1);
        assert_eq!(
            closed("struct A { #[serde(default = \"x::y\", rename(deserialize = \"c\"))] b: u8 }"),
            1
        );
        assert_eq!(closed("struct A { #[serde(flatten)] b: B }"), 0);
        assert_eq!(closed("#[serde(deny_unknown_fields)] struct A { b: u8 }"), 1);
        assert_eq!(closed("enum A { B }"), 0);
        assert!(expand("fn a() {}".parse().expect("tokens")).is_err());
    }
}
