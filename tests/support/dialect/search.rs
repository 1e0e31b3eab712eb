//! The criteria of SEARCH, and sets of UIDs.

/// A SEARCH command in parts.
pub(super) struct Asked {
    /// The result options (RFC 4731), without parentheses.
    pub(super) options: Option<String>,
    /// All criteria.
    pub(super) criteria: String,
    /// The criteria without those that look for a text.
    pub(super) others: String,
    /// The texts that are looked for in the Subject.
    pub(super) subjects: Vec<String>,
    /// `true` if any text is looked for.
    pub(super) has_text: bool,
    /// `true` if a text is looked for by NOT or OR.
    pub(super) is_nested: bool,
}

/// Criteria with a text, and the number of their arguments.
const TEXT_KEYS: [(&str, usize); 8] =
    [("SUBJECT", 1), ("FROM", 1), ("TO", 1), ("CC", 1), ("BCC", 1), ("BODY", 1), ("TEXT", 1), ("HEADER", 2)];

impl Asked {
    /// Reads the arguments of SEARCH.
    pub(super) fn of(arguments: &str) -> Self {
        let (options, criteria) = match arguments.strip_prefix("RETURN (").and_then(|it| it.split_once(") "))
        {
            Some((options, criteria)) => (Some(options.to_owned()), criteria),
            None => (None, arguments),
        };
        let (mut others, mut subjects) = (Vec::<String>::new(), Vec::new());
        let (mut has_text, mut is_nested) = (false, false);
        let mut words = words(criteria).into_iter();
        while let Some(word) = words.next() {
            match TEXT_KEYS.iter().find(|(key, _)| word.eq_ignore_ascii_case(key)) {
                None => others.push(word),
                Some(&(key, count)) => {
                    has_text = true;
                    while others.pop_if(|it| *it == "NOT" || *it == "OR").is_some() {
                        is_nested = true;
                    }
                    let argument = words.by_ref().take(count).last().unwrap_or_default();
                    if key == "SUBJECT" {
                        subjects.push(argument.trim_matches('"').to_owned());
                    }
                }
            }
        }
        let others = if others.is_empty() { "ALL".to_owned() } else { others.join(" ") };
        Self { options, criteria: criteria.to_owned(), others, subjects, has_text, is_nested }
    }

    /// Returns the response with this result, by the options.
    pub(super) fn response(&self, tag: &str, found: &[u32]) -> String {
        let Some(options) = &self.options else {
            let numbers: Vec<String> = found.iter().map(u32::to_string).collect();
            return format!("* SEARCH {}", numbers.join(" ")).trim_end().to_owned() + "\r\n";
        };
        let all = if options.contains("ALL") && !found.is_empty() {
            format!(" ALL {}", set(found))
        } else {
            String::new()
        };
        let count = if options.contains("COUNT") { format!(" COUNT {}", found.len()) } else { String::new() };
        format!("* ESEARCH (TAG \"{tag}\") UID{all}{count}\r\n")
    }
}

/// Splits at blanks outside of quotes.
fn words(text: &str) -> Vec<String> {
    let mut is_quoted = false;
    let parts = text.split(|c: char| {
        is_quoted ^= c == '"';
        c == ' ' && !is_quoted
    });
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Returns `true` if a Subject has all words of a text; also if it is encoded, and not judged.
pub(super) fn has_words(subject: &str, text: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
    };
    let all = words(subject);
    subject.contains("=?") || words(text).iter().all(|word| all.contains(word))
}

/// Returns a sequence set of sorted UIDs.
pub(super) fn set(uids: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == uid => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    let shown = ranges.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}:{last}") }
        },
    );
    shown.collect::<Vec<_>>().join(",")
}
