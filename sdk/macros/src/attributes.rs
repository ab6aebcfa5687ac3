//! What several macros read: `key = "text"` options, bare words, and doc comments.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta, Token};

/// One option of a macro.
pub(crate) struct Opt {
    pub(crate) key: Ident,
    pub(crate) value: Option<LitStr>,
}

/// Options, separated by commas.
pub(crate) struct Opts(pub(crate) Vec<Opt>);

impl Parse for Opts {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self(
            Punctuated::<Opt, Token![,]>::parse_terminated(input)?
                .into_iter()
                .collect(),
        ))
    }
}

impl Parse for Opt {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.parse()?;
        let value = if input.parse::<Option<Token![=]>>()?.is_some() {
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self { key, value })
    }
}

impl Opt {
    /// The option's text.
    pub(crate) fn text(self) -> syn::Result<LitStr> {
        self.value
            .ok_or_else(|| syn::Error::new(self.key.span(), format!("write `{} = \"…\"`", self.key)))
    }

    /// The error for an option that no macro has.
    pub(crate) fn unknown(&self, known: &str) -> syn::Error {
        syn::Error::new(
            self.key.span(),
            format!("there is no option `{}`; there are {known}", self.key),
        )
    }
}

/// The text of an item's doc comment: lines of a paragraph joined, paragraphs apart.
pub(crate) fn doc_comment(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(pair) = &attribute.meta else {
            continue;
        };
        let Expr::Lit(ExprLit {
            lit: Lit::Str(line), ..
        }) = &pair.value
        else {
            continue;
        };
        let line = line.value();
        match line.trim() {
            "" => text.push_str("\n\n"),
            line if text.is_empty() || text.ends_with('\n') => text.push_str(line),
            line => {
                text.push(' ');
                text.push_str(line);
            }
        }
    }
    text.trim().to_owned()
}
