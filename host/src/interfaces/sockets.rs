//! Sockets of guests: there are none. The network is reached by `wasi:http` alone, where the egress checks each request. Who asks for a socket, or
//! for the addresses of a name, is denied that, and the denial is told as any other.

use std::sync::Arc;

use wasmtime::Error;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{self, HostResolveAddressStream, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, HostNetwork, IpAddress, IpAddressFamily, Network,
};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use crate::error::{Lack, Refusal};
use crate::interfaces::State;
use crate::session::guest::Guest;

/// Characters of a name in a message.
const SHOWN: usize = 200;

/// Why nobody has one.
const SHUT: &str = "no plugin has sockets, and tools reach the network by wasi:http alone";

/// The sockets that a guest has not, as data of the linker.
pub(super) struct NoSockets;

impl HasData for NoSockets {
    type Data<'a> = Denies<'a>;
}

pub(super) struct Denies<'a> {
    guest: &'a Arc<Guest>,
    wasi: WasiSocketsCtxView<'a>,
}

pub(super) fn denies(state: &mut State) -> Denies<'_> {
    Denies {
        guest: &state.guest,
        wasi: WasiSocketsCtxView {
            ctx: state.wasi.sockets(),
            table: &mut state.table,
        },
    }
}

impl Denies<'_> {
    /// Tells that this was denied.
    fn denied(&self, what: String, target: String) -> SocketError {
        let words = format!("{} may not {what}: {SHUT}", self.guest.plugin);
        self.guest.is_denied(&Refusal::denied(words).about(Lack {
            what,
            target,
            right: None,
            why: Some(SHUT.to_owned()),
        }));
        ErrorCode::AccessDenied.into()
    }

    fn no_socket(&self, protocol: &str, family: IpAddressFamily) -> SocketError {
        let target = match family {
            IpAddressFamily::Ipv4 => format!("{protocol} over IPv4"),
            IpAddressFamily::Ipv6 => format!("{protocol} over IPv6"),
        };
        self.denied(format!("open a socket for {target}"), target)
    }
}

impl network::Host for Denies<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.wasi.convert_error_code(error)
    }

    fn network_error_code(&mut self, error: Resource<Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.wasi.network_error_code(error)
    }
}

impl HostNetwork for Denies<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        HostNetwork::drop(&mut self.wasi, network)
    }
}

impl tcp_create_socket::Host for Denies<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Err(self.no_socket("TCP", family))
    }
}

impl udp_create_socket::Host for Denies<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(self.no_socket("UDP", family))
    }
}

impl ip_name_lookup::Host for Denies<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddressStream>> {
        self.wasi.table.get(&network)?;
        let shown = self.guest.session.run.secrets.line(&name, SHOWN);
        Err(self.denied(format!("look up {shown}"), name))
    }
}

/// Of addresses that nobody gets: no guest holds one.
impl HostResolveAddressStream for Denies<'_> {
    fn resolve_next_address(&mut self, addresses: Resource<ResolveAddressStream>) -> SocketResult<Option<IpAddress>> {
        self.wasi.resolve_next_address(addresses)
    }

    fn subscribe(&mut self, addresses: Resource<ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        HostResolveAddressStream::subscribe(&mut self.wasi, addresses)
    }

    fn drop(&mut self, addresses: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        HostResolveAddressStream::drop(&mut self.wasi, addresses)
    }
}
