//! Signals: each message is a SIGUSR1.

use std::io::{PipeReader, Read, Write};
use std::os::unix::process::parent_id;

use trine::signal::{self, Signal, Signals};

use super::link::{Boxed, Ends, Link};

/// A signal each way, one at a time: two pending signals merge into one.
pub struct BySignals {
    signals: Signals,
    peer: Peer,
}

/// The target of the signals.
enum Peer {
    /// The id of a process that handles the signal.
    Known(u32),
    /// A pipe through which the far side sends its id, once it handles the signal.
    Starting(PipeReader),
}

impl BySignals {
    pub fn near(start: impl FnOnce(Ends) -> anyhow::Result<()>) -> Boxed {
        let signals = Signals::new([Signal::USR1])?;
        let (from, to) = std::io::pipe()?;
        start(Ends::of_fds([to.into()]))?;
        Ok(Box::new(BySignals { signals, peer: Peer::Starting(from) }))
    }

    pub fn far(ends: Ends) -> Boxed {
        let signals = Signals::new([Signal::USR1])?;
        let [to] = ends.fds()?.map(std::io::PipeWriter::from);
        (&to).write_all(&std::process::id().to_ne_bytes())?;
        Ok(Box::new(BySignals { signals, peer: Peer::Known(parent_id()) }))
    }
}

impl Link for BySignals {
    fn send(&mut self, _: u64) -> anyhow::Result<()> {
        let peer = match &mut self.peer {
            Peer::Known(peer) => *peer,
            Peer::Starting(from) => {
                let mut pid = [0; 4];
                from.read_exact(&mut pid)?;
                u32::from_ne_bytes(pid)
            }
        };
        self.peer = Peer::Known(peer);
        Ok(signal::send(peer, Signal::USR1)?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        self.signals.recv()?;
        Ok(0)
    }

    fn numbered(&self) -> bool {
        false
    }
}
