use super::*;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;

fn receive(socket: &OwnedFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let (mut buffer, mut descriptors) = ([0; 64], Vec::new());
    let length = recv(socket.as_fd(), &mut buffer, &mut descriptors)?;
    Ok(length.map(|length| (buffer[..length].to_vec(), descriptors)))
}

#[test]
fn messages_keep_their_bounds() {
    let (ours, theirs) = pair().unwrap();
    send(ours.as_fd(), b"one", &[]).unwrap();
    send(ours.as_fd(), b"two", &[]).unwrap();
    assert_eq!(receive(&theirs).unwrap().unwrap().0, b"one");
    assert_eq!(receive(&theirs).unwrap().unwrap().0, b"two");
    assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn the_receiver_cannot_send() {
    let (ours, theirs) = pair().unwrap();
    let refused = send(theirs.as_fd(), b"back", &[theirs.as_fd()]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPIPE));
    send(ours.as_fd(), b"on", &[]).unwrap();
    assert_eq!(receive(&theirs).unwrap().unwrap().0, b"on");
    drop(ours);
    assert!(receive(&theirs).unwrap().is_none());
}

#[test]
fn a_passed_descriptor_is_the_same_pipe_and_closes_on_exec() {
    let (ours, theirs) = pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    send(ours.as_fd(), b"here", &[writer.as_fd()]).unwrap();
    drop(writer);
    let (_, descriptors) = receive(&theirs).unwrap().unwrap();
    let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
    let flags = nix::fcntl::fcntl(&descriptor, nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags, libc::FD_CLOEXEC);
    File::from(descriptor).write_all(b"through").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn the_most_descriptors_that_the_kernel_allows() {
    let (ours, theirs) = pair().unwrap();
    let many = vec![ours.as_fd(); MAX_PASSED_DESCRIPTORS];
    send(ours.as_fd(), b"many", &many).unwrap();
    assert_eq!(receive(&theirs).unwrap().unwrap().1.len(), MAX_PASSED_DESCRIPTORS);
    let too_many = vec![ours.as_fd(); MAX_PASSED_DESCRIPTORS + 1];
    assert!(send(ours.as_fd(), b"more", &too_many).is_err());
}

#[test]
fn a_message_too_long_is_an_error_and_leaks_nothing() {
    let (ours, theirs) = pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    send(ours.as_fd(), &[7; 65], &[writer.as_fd()]).unwrap();
    drop(writer);
    let mut descriptors = Vec::new();
    let error = recv(theirs.as_fd(), &mut [0; 64], &mut descriptors).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(descriptors.is_empty());
    // Were the received copy of the writer still open, this would never end.
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn the_end_is_told_from_silence() {
    let (ours, theirs) = pair().unwrap();
    assert!(send(ours.as_fd(), b"", &[]).is_err());
    drop(ours);
    assert!(receive(&theirs).unwrap().is_none());
    let error = send(theirs.as_fd(), b"anyone?", &[]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
}

#[test]
fn a_full_queue_does_not_block() {
    let (ours, _theirs) = pair().unwrap();
    let error = loop {
        if let Err(error) = send(ours.as_fd(), &[7; 1024], &[]) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}
