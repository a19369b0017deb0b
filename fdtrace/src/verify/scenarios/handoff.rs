//! Hand-offs as servers do them, still a matter of identity: who accepts is not who serves.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Result, ensure};
use nix::sys::socket::{MsgFlags, SockType};

use super::scenarios;
use crate::verify::runner::{ForkedActor, Runner};

scenarios! { Identity:
    "accept-handoff" accept_handoff,
        "a manager accepts TCP clients and hands each to a worker, round robin";
    "sibling-broadcast" sibling_broadcast,
        "a master tells every earlier worker of each new worker's channel, as nginx does";
}

const WORKERS: usize = 2;
const CLIENTS: usize = 4;

/// What the manager sends the worker beside the descriptor: its own number for it, the address
/// family, and the protocol to speak.
struct Handoff {
    fd: i32,
    family: i32,
    codec: i32,
}

impl Handoff {
    const ECHO: i32 = 7;

    fn to_bytes(&self) -> Vec<u8> {
        [self.fd, self.family, self.codec]
            .iter()
            .flat_map(|field| field.to_ne_bytes())
            .collect()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        ensure!(
            bytes.len() == 12,
            "the payload has {} bytes instead of 12",
            bytes.len()
        );
        let mut fields = bytes
            .chunks_exact(4)
            .map(|field| i32::from_ne_bytes([field[0], field[1], field[2], field[3]]));
        let mut next = || fields.next().unwrap_or_default();
        Ok(Self {
            fd: next(),
            family: next(),
            codec: next(),
        })
    }
}

fn client_name(client: usize) -> String {
    format!("client-{client}")
}

fn accept_handoff(runner: &Runner) -> Result<()> {
    let mut channels = Vec::new();
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (manager_end, worker_end) = runner.socketpair(SockType::SeqPacket)?;
        workers.push(runner.actor("worker", || serve(runner, worker, &worker_end))?);
        channels.push(manager_end);
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let clients = runner.actor("clients", || {
        (0..CLIENTS).try_for_each(|client| call(client, address))
    })?;
    for client in 0..CLIENTS {
        let (connection, _) = listener.accept()?;
        let connection: OwnedFd = connection.into();
        let handoff = Handoff {
            fd: connection.as_raw_fd(),
            family: libc::AF_INET,
            codec: Handoff::ECHO,
        };
        let name = client_name(client);
        runner
            .send(&name, &channels[client % WORKERS])
            .data(&handoff.to_bytes())
            .fds(&[connection.as_raw_fd()])?;
    }
    clients.done()?;
    workers.into_iter().try_for_each(ForkedActor::done)
}

fn serve(runner: &Runner, worker: usize, channel: &OwnedFd) -> Result<()> {
    for client in (worker..CLIENTS).step_by(WORKERS) {
        let name = client_name(client);
        let mut message = runner.receive_with(&name, channel, 1, MsgFlags::empty())?;
        let handoff = Handoff::from_bytes(&message.data)?;
        ensure!(handoff.fd >= 0, "the manager's number is {}", handoff.fd);
        ensure!(
            handoff.family == libc::AF_INET,
            "the family is {}",
            handoff.family
        );
        ensure!(
            handoff.codec == Handoff::ECHO,
            "the codec is {}",
            handoff.codec
        );
        let Some(connection) = message.fds.pop() else {
            unreachable!("one was received");
        };
        let mut connection = TcpStream::from(connection);
        let mut request = [0; 8];
        connection.read_exact(&mut request)?;
        ensure!(
            request == *name.as_bytes(),
            "{name}'s connection brought other bytes"
        );
        connection.write_all(&[b'0' + worker as u8])?;
    }
    Ok(())
}

fn call(client: usize, address: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(client_name(client).as_bytes())?;
    let mut served_by = [0];
    connection.read_exact(&mut served_by)?;
    let expected = b'0' + (client % WORKERS) as u8;
    ensure!(
        served_by[0] == expected,
        "client {client} was served by the wrong worker"
    );
    Ok(())
}

const SIBLINGS: usize = 5;

fn channel_name(of: usize, to: usize) -> String {
    format!("channel-{of}-to-{to}")
}

/// With n workers, n(n-1)/2 transfers: worker k's channel goes to workers 0 to k-1.
fn sibling_broadcast(runner: &Runner) -> Result<()> {
    let mut channels: Vec<OwnedFd> = Vec::new();
    let mut workers = Vec::new();
    for new in 0..SIBLINGS {
        let (master_end, worker_end) = runner.socketpair(SockType::Stream)?;
        workers.push(runner.actor("worker", || {
            for later in new + 1..SIBLINGS {
                runner.receive(&channel_name(later, new), &worker_end, 1)?;
            }
            Ok(())
        })?);
        for (earlier, channel) in channels.iter().enumerate() {
            runner
                .send(&channel_name(new, earlier), channel)
                .fds(&[master_end.as_raw_fd()])?;
        }
        channels.push(master_end);
    }
    workers.into_iter().try_for_each(ForkedActor::done)
}
