//! What rules look for in texts: lines, comments, words.
//!
//! All rules number lines from 1 and find comments by these, so that none has a view of its own of what a comment is.
//! In Rust that is told by tokens and not by patterns, so that a text in quotes is never taken for a comment.

use proc_macro2::{LineColumn, TokenStream, TokenTree};

/// The lines of a text, with their numbers from 1.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Whether it lies directly in `script/`.
pub fn is_script(path: &str) -> bool {
    path.strip_prefix("script/").is_some_and(|name| !name.contains('/'))
}

/// The comments of a file in Rust, of wire formats and of a script, each with its line from 1: what follows `//`,
/// `///`, `//!` or `#`, whether it has the line for itself or stands at its end. Other files have none.
///
/// # Panics
///
/// Where a file in Rust has no tokens: it would not compile either.
pub fn comments<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let begin: fn(&str) -> Option<&str> = if path.ends_with(".rs") {
        return in_rust(path, text);
    } else if path.ends_with(".proto") {
        slashes
    } else if is_script(path) || path.ends_with(".sh") {
        hash
    } else {
        return Vec::new();
    };
    lines(text).filter_map(|(line, text)| Some((line, begin(text)?))).collect()
}

/// In Rust a comment is where no token is: a text in quotes that looks like one is a token.
fn in_rust<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let tokens: TokenStream =
        text.parse().unwrap_or_else(|error| panic!("{path} has no tokens: {error}"));
    let all: Vec<&str> = text.lines().collect();
    // Of each line the columns that tokens take from its beginning on.
    let mut taken = vec![0; all.len()];
    take(tokens, &all, &mut taken);
    let rest = |line: &'a str, taken: usize| {
        let at = line.char_indices().nth(taken).map_or(line.len(), |(at, _)| at);
        line.get(at..)?
            .trim_start()
            .strip_prefix("//")
            .map(|rest| rest.trim_start_matches(['/', '!']))
    };
    let found = all.iter().zip(&taken).enumerate();
    found.filter_map(|(index, (line, taken))| Some((index + 1, rest(line, *taken)?))).collect()
}

fn take(tokens: TokenStream, lines: &[&str], taken: &mut [usize]) {
    for token in tokens {
        let start = token.span().start();
        let line = lines.get(start.line - 1).copied().unwrap_or_default();
        // A doc comment comes as tokens too, all of which begin where it begins.
        if line.get(byte(line, start.column)..).is_some_and(|begun| begun.starts_with("//")) {
            continue;
        }
        let TokenTree::Group(group) = token else {
            take_span(start, token.span().end(), taken);
            continue;
        };
        for span in [group.span_open(), group.span_close()] {
            take_span(span.start(), span.end(), taken);
        }
        take(group.stream(), lines, taken);
    }
}

fn take_span(start: LineColumn, end: LineColumn, taken: &mut [usize]) {
    for line in start.line..=end.line {
        let columns = if line == end.line { end.column } else { usize::MAX };
        if let Some(taken) = taken.get_mut(line - 1) {
            *taken = columns.max(*taken);
        }
    }
}

/// Where a column of a line begins.
fn byte(line: &str, column: usize) -> usize {
    line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
}

/// `// a` and `x; // a`. Wire formats have no texts with `//` in them.
fn slashes(line: &str) -> Option<&str> {
    line.split_once("//").map(|(_, comment)| comment)
}

/// `# a` and `x # a`, where what is before it has no quotes open.
fn hash(line: &str) -> Option<&str> {
    let comment = line.match_indices('#').find(|(at, _)| {
        let before = line.get(..*at).unwrap_or_default();
        let is_closed = |quote| before.matches(quote).count().is_multiple_of(2);
        before.chars().next_back().is_none_or(char::is_whitespace)
            && is_closed('"')
            && is_closed('\'')
    });
    comment.and_then(|(at, _)| line.get(at + 1..)).filter(|comment| !comment.starts_with('!'))
}

/// Whether a text stands in a line where no word goes on into it: the character before it, if any, is not one of
/// `word`.
pub fn begins_in(line: &str, text: &str, word: impl Fn(char) -> bool) -> bool {
    line.match_indices(text).any(|(at, _)| before(line, at).is_none_or(|before| !word(before)))
}

/// The character before a place in a line.
pub fn before(line: &str, at: usize) -> Option<char> {
    line.get(..at).and_then(|before| before.chars().next_back())
}

/// The words of a name: `add_learner` and `AddLearner` both are `add`, `learner`.
pub fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in name.split('_').filter(|part| !part.is_empty()) {
        // One in capitals throughout is one word.
        let camel = part.chars().any(char::is_lowercase);
        words.push(String::new());
        for c in part.chars() {
            if camel && c.is_uppercase() && words.last().is_some_and(|word| !word.is_empty()) {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{begins_in, comments, words};

    #[test]
    fn words_of_names() {
        for name in ["add_learner", "AddLearner", "ADD_LEARNER"] {
            assert_eq!(words(name), ["add", "learner"], "{name}");
        }
        assert_eq!(words("split"), ["split"]);
    }

    #[test]
    fn comments_are_found_wherever_they_stand() {
        let text = "//! a\nfn f() {} // b\n    /// c\n    // d\nstruct S { // e\n}";
        let found = [(1, " a"), (2, " b"), (3, " c"), (4, " d"), (5, " e")];
        assert_eq!(comments("a.rs", text), found);
        assert_eq!(comments("a.proto", "// a\nint32 b = 1; // b"), [(1, " a"), (2, " b")]);
        let script = "#!/bin/sh\n# a\nf # b\necho \"${#x} # c\" $#";
        assert_eq!(comments("script/a", script), [(2, " a"), (3, " b")]);
        assert_eq!(comments("a.md", "# a"), []);
    }

    #[test]
    fn what_is_quoted_is_no_comment() {
        let text = "const A: &str = \"// ä\n// b\"; // c\nconst D: &str = r#\"\n// d\n\"#;";
        assert_eq!(comments("a.rs", text), [(2, " c")]);
        assert_eq!(comments("a.rs", "const A: &str = \"ä\"; // ö"), [(1, " ö")]);
    }

    #[test]
    fn a_word_does_not_begin_within_another() {
        assert!(begins_in("a bc", "b", char::is_alphabetic));
        assert!(!begins_in("abc", "b", char::is_alphabetic));
    }
}
