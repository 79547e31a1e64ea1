use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the search for ports starts, and how many it looks at. Below the kernel's range for outgoing connections (32768
/// and up): a client that keeps trying a closed port of that range can end up connected to itself.
const FIRST: u32 = 12_000;
const SPAN: u32 = 20_000;

/// A TCP port of 127.0.0.1 that no other test process picks while this value lives, also while nothing listens on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// An abstract socket named after the port: taken by one process at a time, and gone with that process.
    _claim: UnixListener,
}

impl Port {
    /// Claims a free port.
    pub fn claim() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..SPAN {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            // Each process starts elsewhere, so that parallel test binaries rarely meet.
            let number = FIRST + (std::process::id().wrapping_mul(97).wrapping_add(step)) % SPAN;
            if let Ok(port) = Port::try_claim(number as u16) {
                return port;
            }
        }
        panic!("no free TCP port between {FIRST} and {}", FIRST + SPAN);
    }

    fn try_claim(number: u16) -> io::Result<Port> {
        let name = SocketAddr::from_abstract_name(format!("zkmount-rig-port-{number}"))?;
        let claim = UnixListener::bind_addr(&name)?;
        TcpListener::bind(("127.0.0.1", number))?;
        Ok(Port { number, _claim: claim })
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
