//! Where unsafe code stands, read from sources as tokens, so that comments, strings and names of
//! lints do not count.

use std::fs;
use std::io;
use std::iter::Peekable;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The keyword.
const UNSAFE: &str = "unsafe";

/// How often a source has each kind of unsafe code, its tests included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// `unsafe { .. }`.
    pub blocks: usize,
    /// `unsafe impl`.
    pub impls: usize,
    /// `unsafe fn`, as items and as types.
    pub functions: usize,
    /// Traits, attributes, and what macros make of the keyword.
    pub others: usize,
}

impl Count {
    /// Counts in the text of a source file; `None` where that is not made of Rust's tokens.
    pub fn of(source: &str) -> Option<Self> {
        let mut count = Self::default();
        count.add(source.parse().ok()?);
        Some(count)
    }

    /// Whether there is none.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    fn add(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(word) if word == UNSAFE => *self.kind(&mut tokens) += 1,
                TokenTree::Group(group) => self.add(group.stream()),
                _ => {}
            }
        }
    }

    /// What the token after the keyword says that it is.
    fn kind(&mut self, rest: &mut Peekable<impl Iterator<Item = TokenTree>>) -> &mut usize {
        match rest.peek() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                &mut self.blocks
            }
            Some(TokenTree::Ident(word)) if word == "impl" => &mut self.impls,
            Some(TokenTree::Ident(word)) if word == "fn" || word == "extern" => &mut self.functions,
            _ => &mut self.others,
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.impls += other.impls;
        self.functions += other.functions;
        self.others += other.others;
    }
}

/// Every Rust file below a folder, in order.
///
/// # Errors
/// What reading a folder says.
pub fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether any source below a folder has the keyword as a token. What is not made of tokens, such
/// as a template, has it where its text does.
///
/// # Errors
/// What reading says.
pub fn is_below(folder: &Path) -> io::Result<bool> {
    for path in sources(folder)? {
        let bytes = fs::read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(UNSAFE) && Count::of(&text).is_none_or(|count| !count.is_zero()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted() {
        let source = "
            unsafe impl Send for A {}
            /// # Safety\n unsafe fn f(g: unsafe extern \"C\" fn()) { unsafe { h() } }
            fn k() { let x = [unsafe { *p }, { unsafe { q() }; 1 }]; }
            unsafe trait T {}
            macro_rules! m { ($e:expr) => { unsafe { $e } } }
        ";
        let expected = Count { blocks: 4, impls: 1, functions: 2, others: 1 };
        assert_eq!(Count::of(source), Some(expected));
    }

    #[test]
    fn words_that_are_no_code_are_not() {
        let source = "
            #![forbid(unsafe_code)]
            // unsafe { }
            /* unsafe /* unsafe */ unsafe */
            const A: &str = \"unsafe { }\"; const B: char = '\"';
            const C: &str = r#\"\" unsafe {} \"#;
        ";
        assert_eq!(Count::of(source), Some(Count::default()));
        assert_eq!(Count::of("unsafe {"), None);
    }
}
