//! What the host holds for a guest that makes HTTP requests, where the crate that serves `wasi:http` does not bound it: how many requests are open at
//! once, and how long the parts of one are that may have any length there. Answers to requests, which nobody sends here, are made by nobody.

use std::any::Any;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtx, WasiHttpView as _};

use super::State;
use crate::limits::Limits;

/// The interface, as wasmtime-wasi-http defines it for guests of every 0.2.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Bytes of a method. The longest that is registered has 17 (IANA, HTTP Method Registry).
const METHOD: usize = 64;

/// Bytes of a host's name with its port: the name has 253 (RFC 1035, 2.3.4).
const AUTHORITY: usize = 320;

/// What one header takes in memory besides its own bytes.
const HEADER: u64 = 128;

/// What HTTP messages may take.
pub(super) fn context(limits: &Limits) -> WasiHttpCtx {
    let most = HEADER
        .saturating_mul(limits.http_header_count)
        .saturating_add(limits.http_headers);
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(usize::try_from(most).unwrap_or(usize::MAX));
    context
}

/// Defines `wasi:http`, with these bounds before its own.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    bound(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn bound(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store: StoreContextMut<'_, State>, (headers,): (Resource<FieldMap>,)| {
            store.data_mut().has_room_for_a_request()?;
            Ok((store.data_mut().http().new(headers)?,))
        },
    )?;
    types.func_wrap(
        "[constructor]outgoing-response",
        |_: StoreContextMut<'_, State>,
         (_,): (Resource<FieldMap>,)|
         -> wasmtime::Result<(Resource<HostOutgoingResponse>,)> {
            wasmtime::bail!("a plugin answers no HTTP requests, and makes no responses")
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Resource<HostOutgoingRequest>, Method)| {
            if matches!(&method, Method::Other(name) if name.len() > METHOD) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>, (request, host): (Resource<HostOutgoingRequest>, Option<String>)| {
            if host.as_ref().is_some_and(|host| host.len() > AUTHORITY) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, host)?,))
        },
    )
}

impl State {
    /// Whether one more request may be open, from its making until its answer's body and trailers are dropped.
    fn has_room_for_a_request(&mut self) -> wasmtime::Result<()> {
        let most = self.guest.session.run.limits.http_open;
        let open = self.table.iter_mut().filter(|entry| is_open(*entry));
        if (open.count() as u64) < most {
            return Ok(());
        }
        wasmtime::bail!("{most} HTTP requests are open, the most at once (limits.http.open)")
    }
}

/// Whether an entry of the table has a request or an answer in it: the handles that it went through before are empty.
fn is_open(entry: &(dyn Any + Send)) -> bool {
    let answer = entry.downcast_ref::<HostFutureIncomingResponse>();
    let response = entry.downcast_ref::<HostIncomingResponse>();
    let trailers = entry.downcast_ref::<HostFutureTrailers>();
    entry.is::<HostOutgoingRequest>()
        || entry.is::<HostIncomingBody>()
        || answer.is_some_and(|answer| !matches!(answer, HostFutureIncomingResponse::Consumed))
        || response.is_some_and(|response| response.body.is_some())
        || trailers.is_some_and(|trailers| matches!(trailers, HostFutureTrailers::Waiting(_)))
}
