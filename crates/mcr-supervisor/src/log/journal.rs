//! The journal's native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): under systemd,
//! what an entry is about comes as fields that `journalctl MCR_RULE=17` can ask for.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use mcr_api::log::{Entry, Level};
use nix::sys::stat::fstat;

/// The journal's socket.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Writes each entry as a datagram. It may wait for the journal, so it is for the log's own thread.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

/// Whether what a program writes there goes to the journal: then the service manager has said
/// which file that is (`JOURNAL_STREAM`, systemd.exec(5)).
pub(super) fn is_journal(stream: impl AsFd) -> bool {
    let told = env::var("JOURNAL_STREAM");
    told.is_ok_and(|told| is_stream(stream, &told))
}

fn is_stream(stream: impl AsFd, told: &str) -> bool {
    fstat(stream).is_ok_and(|stat| told == format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl Journal {
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.into() })
    }
}

impl Write for Journal {
    /// Sends what [`fields`] has made. A journal that is not there, as while it is restarted, is no
    /// reason to lose the entry: standard error keeps it until it is back.
    fn write(&mut self, fields: &[u8]) -> io::Result<usize> {
        if self.socket.send_to(fields, &self.path).is_err() {
            let mut lines = fields.split(|byte| *byte == b'\n');
            let message = lines.find_map(|line| line.strip_prefix(b"MESSAGE="));
            let mut stderr = io::stderr().lock();
            stderr.write_all(message.unwrap_or(fields))?;
            stderr.write_all(b"\n")?;
        }
        Ok(fields.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The entry as the journal takes it: a field a line, which an entry's message never breaks.
pub(super) fn fields(entry: &Entry) -> Vec<u8> {
    let Entry { area, worker, interface, rule, repeated, message, .. } = entry;
    let priority = priority(entry.level);
    let mut fields = format!("MESSAGE={message}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=mcrd\n");
    let mut field = |name: &str, value: Option<&dyn std::fmt::Display>| {
        if let Some(value) = value {
            // Writing into a text never fails.
            _ = writeln!(fields, "{name}={value}");
        }
    };
    field("MCR_AREA", Some(area));
    field("MCR_WORKER", worker.as_ref().map(|worker| worker as _));
    field("MCR_INTERFACE", interface.as_ref().map(|interface| interface as _));
    field("MCR_RULE", rule.as_ref().map(|rule| rule as _));
    field("MCR_REPEATED", repeated.as_ref().map(|repeated| repeated as _));
    fields.into_bytes()
}

/// As syslog(3) has it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

#[cfg(test)]
mod tests {
    use mcr_api::log::Area;

    use super::*;

    fn entry() -> Entry {
        let entry = Entry::new(0, Level::Warn, Area::Ingress, "worker 3: eth0: full".into());
        Entry { worker: Some(3), interface: Some("eth0".into()), repeated: Some(2), ..entry }
    }

    #[test]
    fn an_entry_is_its_fields() {
        let expected = "MESSAGE=worker 3: eth0: full\nPRIORITY=4\nSYSLOG_IDENTIFIER=mcrd\n\
                        MCR_AREA=ingress\nMCR_WORKER=3\nMCR_INTERFACE=eth0\nMCR_REPEATED=2\n";
        assert_eq!(String::from_utf8(fields(&entry())).unwrap(), expected);
    }

    #[test]
    fn each_entry_is_a_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::at(&path).unwrap();
        for _ in 0..2 {
            journal.write_all(&fields(&entry())).unwrap();
            let mut datagram = [0; 4_096];
            let length = listener.recv(&mut datagram).unwrap();
            assert_eq!(datagram[..length], fields(&entry()));
        }
        drop(listener);
        journal.write_all(&fields(&entry())).unwrap();
    }

    #[test]
    fn a_stream_is_known_by_its_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let stat = fstat(&file).unwrap();
        assert!(is_stream(&file, &format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!is_stream(&file, &format!("{}:{}", stat.st_dev, stat.st_ino + 1)));
        assert!(!is_stream(&file, ""));
    }
}
