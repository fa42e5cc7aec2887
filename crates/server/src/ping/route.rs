//! The check-in routes of every dialect, as one pure function of the path.

use systole_core::heartbeat::Signal;

use super::Refusal;

/// Where a check-in goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    dialect: Dialect,
    first: &'a str,
    second: Option<&'a str>,
    third: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dialect {
    /// `/ping/{token}[/suffix]`, `/ping/{ping_key}/{slug}[/suffix]`
    Native,
    /// `/{uuid}[/suffix]`, as the hosted Healthchecks has it; a ping key and slug likewise.
    Hosted,
    /// `/api/hb/{token}`, `/heartbeat/{token}`
    Plain,
    /// `/v1/heartbeat/{token}` with `msg`
    Message,
}

/// The check-in that this path asks for; `None` for paths of other kinds.
pub fn route(path: &str) -> Option<Target<'_>> {
    if let Some(rest) = path.strip_prefix("/ping/") {
        return native(Dialect::Native, rest);
    }
    for prefix in ["/api/hb/", "/heartbeat/"] {
        if let Some(rest) = path.strip_prefix(prefix) {
            return one(Dialect::Plain, rest);
        }
    }
    if let Some(rest) = path.strip_prefix("/v1/heartbeat/") {
        return one(Dialect::Message, rest);
    }
    // Only what looks like a secret: everything else at the root is a page.
    let rest = path.strip_prefix('/')?;
    let first = rest.as_bytes().get(..36)?;
    (is_uuid(first) && matches!(rest.as_bytes().get(36), None | Some(b'/')))
        .then(|| native(Dialect::Hosted, rest))?
}

fn native(dialect: Dialect, rest: &str) -> Option<Target<'_>> {
    let (first, rest) = part(rest);
    let (second, rest) = rest.map_or((None, None), |rest| (Some(part(rest).0), part(rest).1));
    let (third, rest) = rest.map_or((None, None), |rest| (Some(part(rest).0), part(rest).1));
    // Too deep: it is still a request for a check-in, and none that exists.
    let third = if rest.is_some() { Some("") } else { third };
    (!first.is_empty()).then_some(Target {
        dialect,
        first,
        second,
        third,
    })
}

/// Up to the next slash, and what follows it. By hand: this is asked for every check-in.
fn part(text: &str) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == b'/') {
        Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
        None => (text, None),
    }
}

fn one(dialect: Dialect, rest: &str) -> Option<Target<'_>> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    (!rest.is_empty() && !rest.contains('/')).then_some(Target {
        dialect,
        first: rest,
        second: None,
        third: None,
    })
}

/// Dashed and in lower case, as tokens are made.
fn is_uuid(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_digit() || (b'a'..=b'f').contains(b),
    })
}

impl<'a> Target<'a> {
    /// The token, where the first part could be one. It is looked up by its hash, so its letters need no look.
    pub fn token(&self) -> Option<&'a str> {
        (self.first.len() <= 64 && self.third.is_none()).then_some(self.first)
    }

    /// Ping key and slug.
    pub fn by_name(&self) -> Option<(&'a str, &'a str)> {
        let slug = self.second.filter(|slug| {
            !slug.is_empty()
                && slug.len() <= 100
                && slug
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })?;
        matches!(self.dialect, Dialect::Native | Dialect::Hosted).then_some((self.first, slug))
    }

    /// Whether `msg` is a message.
    pub fn takes_message(&self) -> bool {
        self.dialect == Dialect::Message
    }

    /// What it says, for a known token.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] or [`Refusal::Malformed`].
    pub fn signal(&self) -> Result<Signal, Refusal> {
        // `/ping/{token}/` is a success too.
        suffix(self.second.filter(|second| !second.is_empty()))
    }

    /// What it says, by name.
    ///
    /// # Errors
    /// As [`Target::signal`].
    pub fn signal_by_name(&self) -> Result<Signal, Refusal> {
        match self.third {
            Some("") => Err(Refusal::NotFound),
            third => suffix(third),
        }
    }
}

fn suffix(suffix: Option<&str>) -> Result<Signal, Refusal> {
    match suffix {
        None => Ok(Signal::Success),
        Some("start") => Ok(Signal::Start),
        Some("fail") => Ok(Signal::Fail),
        Some("log") => Ok(Signal::Log),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .map(Signal::Exit)
            .map_err(|_| Refusal::Malformed("invalid url format")),
        Some(_) => Err(Refusal::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";

    #[test]
    fn every_dialect_names_a_token() {
        for path in [
            "/ping/{}",
            "/ping/{}/",
            "/{}",
            "/api/hb/{}",
            "/v1/heartbeat/{}",
            "/heartbeat/{}",
        ] {
            let path = path.replace("{}", UUID);
            let target = route(&path).unwrap();
            assert_eq!(target.token(), Some(UUID), "{path}");
            assert!(matches!(target.signal(), Ok(Signal::Success)), "{path}");
        }
    }

    #[test]
    fn the_suffix_says_what_it_means() {
        for (suffix, signal) in [
            ("start", Signal::Start),
            ("fail", Signal::Fail),
            ("log", Signal::Log),
            ("0", Signal::Exit(0)),
            ("00", Signal::Exit(0)),
            ("137", Signal::Exit(137)),
            ("255", Signal::Exit(255)),
        ] {
            let path = format!("/ping/{UUID}/{suffix}");
            assert!(
                route(&path)
                    .unwrap()
                    .signal()
                    .is_ok_and(|found| found == signal),
                "{suffix}"
            );
        }
        for (suffix, malformed) in [
            ("256", true),
            ("99999999999", true),
            ("-1", false),
            ("bogus", false),
        ] {
            let path = format!("/ping/{UUID}/{suffix}");
            match route(&path).unwrap().signal() {
                Err(Refusal::Malformed(_)) => assert!(malformed, "{suffix}"),
                Err(Refusal::NotFound) => assert!(!malformed, "{suffix}"),
                _ => panic!("{suffix} was taken"),
            }
        }
    }

    #[test]
    fn a_ping_key_goes_with_a_slug() {
        for (path, by_name) in [
            (
                "/ping/abcdefghijklmnop/nightly-backup",
                Some("nightly-backup"),
            ),
            (
                "/ping/abcdefghijklmnop/nightly-backup/fail",
                Some("nightly-backup"),
            ),
            ("/ping/abcdefghijklmnop/with.dot", None),
            ("/ping/abcdefghijklmnop", None),
        ] {
            assert_eq!(
                route(path).unwrap().by_name().map(|(_, slug)| slug),
                by_name,
                "{path}"
            );
        }
        assert!(
            route("/ping/abcdefghijklmnop/nightly/")
                .unwrap()
                .signal_by_name()
                .is_err()
        );
    }

    #[test]
    fn other_paths_are_not_check_ins() {
        for path in [
            "/",
            "/monitors/mon_1",
            "/incidents/12",
            "/api/v1/monitors",
            "/ping/",
            "/sign-in",
            "/setup",
        ] {
            assert_eq!(route(path), None, "{path}");
        }
    }

    #[test]
    fn an_upper_case_uuid_is_another_token() {
        let path = format!("/{}", UUID.to_uppercase());
        assert_eq!(route(&path), None);
    }
}
