//! `#[tool]`: the function stays as it is, and beside it stands a type of the same name that implements `Tool`.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{FnArg, ItemFn, LitStr};

use crate::attributes::{Opts, doc_comment};

const OPTIONS: &str = "name, title, description, read_only, destructive, idempotent, closed_world";

/// The options of one `#[tool]`.
#[derive(Default)]
struct Settings {
    name: Option<LitStr>,
    title: Option<LitStr>,
    description: Option<LitStr>,
    hints: Hints,
}

#[derive(Default)]
struct Hints {
    any: bool,
    read_only: bool,
    destructive: bool,
    idempotent: bool,
    closed_world: bool,
}

pub(crate) fn expand(attributes: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let settings = Settings::read(syn::parse2(attributes)?)?;
    let function: ItemFn = syn::parse2(item)?;
    let (ident, visibility) = (&function.sig.ident, &function.vis);
    let name = settings.name.as_ref().map_or_else(|| ident.to_string(), LitStr::value);
    check_name(&name, ident)?;
    let description = settings
        .description
        .map_or_else(|| doc_comment(&function.attrs), |text| text.value());
    if description.is_empty() {
        return Err(syn::Error::new_spanned(
            ident,
            "a tool needs a doc comment: the model reads it to choose the tool",
        ));
    }
    let title = match settings.title {
        Some(title) => quote!(::core::option::Option::Some(#title)),
        None => quote!(::core::option::Option::None),
    };
    let hints = settings.hints.tokens();
    let (arguments, call) = match argument(&function)? {
        Some(kind) => (kind, quote!(#ident(arguments))),
        None => (
            quote!(::hermes_sdk::NoArgs),
            quote!({ let ::hermes_sdk::NoArgs {} = arguments; #ident() }),
        ),
    };
    let doc = format!("The tool `{name}`, for `tools!`.");
    Ok(quote! {
        // Arguments come by value, whether or not the function needs them so.
        #[allow(clippy::needless_pass_by_value)]
        #function

        #[doc = #doc]
        #[allow(non_camel_case_types)]
        #visibility struct #ident {}

        impl ::hermes_sdk::Tool for #ident {
            type Args = #arguments;
            const NAME: &'static str = #name;
            const TITLE: ::core::option::Option<&'static str> = #title;
            const DESCRIPTION: &'static str = #description;
            const HINTS: ::core::option::Option<::hermes_sdk::ToolHints> = #hints;

            fn output_schema() -> ::core::option::Option<::std::string::String> {
                ::hermes_sdk::__private::output_schema(|arguments: Self::Args| #call)
            }

            fn run(
                arguments: Self::Args,
            ) -> ::core::result::Result<::hermes_sdk::ToolOutput, ::hermes_sdk::Error> {
                ::hermes_sdk::__private::output(#call)
            }
        }
    })
}

impl Settings {
    fn read(options: Opts) -> syn::Result<Self> {
        let mut settings = Self::default();
        for option in options.0 {
            match option.key.to_string().as_str() {
                "name" => settings.name = Some(option.text()?),
                "title" => settings.title = Some(option.text()?),
                "description" => settings.description = Some(option.text()?),
                hint => {
                    let known = settings.hints.set(hint);
                    if !known || option.value.is_some() {
                        return Err(option.unknown(OPTIONS));
                    }
                }
            }
        }
        Ok(settings)
    }
}

impl Hints {
    fn set(&mut self, hint: &str) -> bool {
        match hint {
            "read_only" => self.read_only = true,
            "destructive" => self.destructive = true,
            "idempotent" => self.idempotent = true,
            "closed_world" => self.closed_world = true,
            _ => return false,
        }
        self.any = true;
        true
    }

    fn tokens(&self) -> TokenStream {
        if !self.any {
            return quote!(::core::option::Option::None);
        }
        let (read_only, idempotent, open_world) = (self.read_only, self.idempotent, !self.closed_world);
        // What only reads destroys nothing; of what writes, MCP assumes the worst unless told otherwise.
        let destructive = self.destructive || !read_only;
        quote! {
            ::core::option::Option::Some(::hermes_sdk::ToolHints {
                read_only: #read_only,
                destructive: #destructive,
                idempotent: #idempotent,
                open_world: #open_world,
            })
        }
    }
}

fn argument(function: &ItemFn) -> syn::Result<Option<TokenStream>> {
    let mut inputs = function.sig.inputs.iter();
    let first = inputs.next();
    if let Some(second) = inputs.next() {
        return Err(syn::Error::new_spanned(
            second,
            "a tool takes one argument: a struct with `#[hermes_sdk::args]`",
        ));
    }
    match first {
        None => Ok(None),
        Some(FnArg::Typed(typed)) => Ok(Some(typed.ty.to_token_stream())),
        Some(receiver) => Err(syn::Error::new_spanned(receiver, "a tool is a free function")),
    }
}

fn check_name(name: &str, at: &syn::Ident) -> syn::Result<()> {
    let fits =
        (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits {
        Ok(())
    } else {
        Err(syn::Error::new_spanned(
            at,
            "a tool's name is 1 to 64 letters, digits, `_` and `-`",
        ))
    }
}
