//! Lines of bounded length from whoever may send anything.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line; without its newline, it is in the buffer.
    Whole,
    /// More than the limit without a newline.
    TooLong,
    /// The end, in the middle of a line.
    Unfinished,
    /// The end.
    End,
}

/// Reads the next line of at most `limit` bytes, its newline included, into `line`.
pub(crate) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Line> {
    line.clear();
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return Ok(if line.is_empty() { Line::End } else { Line::Unfinished });
        }
        let room = limit.saturating_sub(line.len());
        let newline = available.iter().take(room).position(|&byte| byte == b'\n');
        if let Some(end) = newline {
            line.extend_from_slice(&available[..end]);
            from.consume(end + 1);
            return Ok(Line::Whole);
        }
        if available.len() >= room {
            return Ok(Line::TooLong);
        }
        let taken = available.len();
        line.extend_from_slice(available);
        from.consume(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &str, limit: usize) -> (Vec<String>, Line) {
        // A buffer of three bytes, so that lines come in pieces.
        let mut from = tokio::io::BufReader::with_capacity(3, text.as_bytes());
        let (mut whole, mut line) = (Vec::new(), Vec::new());
        loop {
            match read_line(&mut from, &mut line, limit).await.unwrap() {
                Line::Whole => whole.push(String::from_utf8(line.clone()).unwrap()),
                end => return (whole, end),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_whole_up_to_the_limit() {
        let expected = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(lines("ab\n\ncdefg\n", 6).await, (expected(&["ab", "", "cdefg"]), Line::End));
        assert_eq!(lines("ab\ncdefgh\n", 6).await, (expected(&["ab"]), Line::TooLong));
        assert_eq!(lines("ab\ncd", 6).await, (expected(&["ab"]), Line::Unfinished));
        assert_eq!(lines("", 6).await, (Vec::new(), Line::End));
        assert_eq!(lines("abcdefghijkl", 6).await, (Vec::new(), Line::TooLong));
    }
}
