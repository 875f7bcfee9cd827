//! Reports which parts of a sandbox the kernel can enforce.

use std::fmt;

use super::settings::Sandbox;
use crate::sys::sandbox::{landlock, seccomp};

/// The report of [`Sandbox::check`]: the parts of a sandbox that the kernel cannot enforce. Its
/// text has a line for each of them.
///
/// ```
/// use trine::process::Sandbox;
///
/// let enforcement = Sandbox::new().no_network().read_only(["/usr"]).check();
/// if !enforcement.is_complete() {
///     eprintln!("running with less: {enforcement}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    landlock: Option<u32>,
    seccomp: bool,
    missing: Vec<NotEnforced>,
}

/// A part of a sandbox that the kernel cannot enforce, with the reason and the remedy as text.
///
/// ```
/// use trine::process::{Part, Sandbox};
///
/// let enforcement = Sandbox::new().no_network().check();
/// for missing in enforcement.missing().iter().filter(|missing| missing.part() == Part::Network) {
///     eprintln!("the network stays open: {}", missing.reason());
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEnforced {
    part: Part,
    reason: String,
}

/// A part of a [`Sandbox`].
///
/// ```
/// use trine::process::{Part, Sandbox};
///
/// let enforcement = Sandbox::new().no_network().no_exec().check();
/// let required = [Part::Network, Part::Exec];
/// if enforcement.missing().iter().any(|missing| required.contains(&missing.part())) {
///     eprintln!("cannot run untrusted code: {enforcement}");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Access to files that are not listed, or by calls that are not allowed on listed ones.
    Files,
    /// Sockets.
    Network,
    /// Unix sockets with a name.
    UnixSockets,
    /// Signals to other processes.
    Signals,
    /// Memory and descriptors of other processes.
    OtherProcesses,
    /// New processes.
    NewProcesses,
    /// Running programs.
    Exec,
    /// The other system calls that every sandbox denies.
    SystemCalls,
}

impl Sandbox {
    /// Finds out which parts of the sandbox the kernel can enforce, for the calling process. A
    /// worker does so again.
    ///
    /// ```
    /// use trine::process::Sandbox;
    ///
    /// println!("{}", Sandbox::new().no_network().no_files().check());
    /// ```
    pub fn check(&self) -> Enforcement {
        let landlock = landlock::version().map_err(|error| landlock::explain_missing(&error));
        let filters = seccomp::check();
        let missing = self.missing(&landlock, &filters);
        Enforcement { landlock: landlock.ok(), seccomp: filters.is_ok(), missing }
    }

    fn missing(
        &self,
        landlock: &Result<u32, String>,
        filters: &Result<(), String>,
    ) -> Vec<NotEnforced> {
        let mut missing = Vec::new();
        let mut note = |part, reason: String| missing.push(NotEnforced { part, reason });
        // Returns the reason if the kernel's Landlock is older than `version`, or missing.
        let since = |version: u32, linux: &str| match landlock {
            Ok(there) if *there >= version => None,
            Ok(there) => Some(format!(
                "the kernel has version {there} of Landlock, and this takes {version}: Linux \
                 {linux}"
            )),
            Err(reason) => Some(reason.clone()),
        };
        let no_filters = filters.as_ref().err();
        let files = self.files.is_some();
        if files && let Some(reason) = since(1, "5.13") {
            note(Part::Files, reason);
        } else if files && let Some(reason) = since(5, "6.10") {
            note(Part::Files, format!("ioctl of listed device files: {reason}"));
        }
        if self.no_network
            && let Some(reason) = no_filters
        {
            note(Part::Network, reason.clone());
        }
        if !self.no_network || no_filters.is_some() {
            if let Some(reason) = since(6, "6.12") {
                note(Part::UnixSockets, format!("abstract names: {reason}"));
            }
            if files && let Some(reason) = since(9, "7.1") {
                note(Part::UnixSockets, format!("names of files: {reason}; or call `no_network`"));
            }
        }
        if no_filters.is_some()
            && let Some(reason) = since(6, "6.12")
        {
            note(Part::Signals, reason);
        }
        if let Some(reason) = since(1, "5.13") {
            note(Part::OtherProcesses, reason);
        }
        if let Some(reason) = no_filters {
            for (asked, part) in [
                (self.no_new_processes, Part::NewProcesses),
                (self.no_exec, Part::Exec),
                (true, Part::SystemCalls),
            ] {
                if asked {
                    note(part, reason.clone());
                }
            }
        }
        missing
    }
}

impl Enforcement {
    /// Returns true if the kernel can enforce every part.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Returns the parts that the kernel cannot enforce.
    ///
    /// ```
    /// use trine::process::Sandbox;
    ///
    /// let enforcement = Sandbox::new().no_files().check();
    /// for missing in enforcement.missing() {
    ///     eprintln!("not enforced: {missing}");
    /// }
    /// assert_eq!(enforcement.missing().is_empty(), enforcement.is_complete());
    /// ```
    pub fn missing(&self) -> &[NotEnforced] {
        &self.missing
    }

    /// Returns the version of the kernel's Landlock interface; `None` if the kernel has no
    /// Landlock.
    ///
    /// ```
    /// use trine::process::Sandbox;
    ///
    /// match Sandbox::new().check().landlock() {
    ///     Some(version) => println!("Landlock, version {version}"),
    ///     None => println!("no Landlock: files stay accessible"),
    /// }
    /// ```
    pub fn landlock(&self) -> Option<u32> {
        self.landlock
    }

    /// Returns true if the kernel has seccomp filters.
    ///
    /// ```
    /// use trine::process::{Part, Sandbox};
    ///
    /// let enforcement = Sandbox::new().no_exec().check();
    /// let exec_stays = enforcement.missing().iter().any(|missing| missing.part() == Part::Exec);
    /// assert_eq!(enforcement.seccomp(), !exec_stays);
    /// ```
    pub fn seccomp(&self) -> bool {
        self.seccomp
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            return f.write_str("all of the sandbox can be enforced");
        }
        f.write_str("of the sandbox, this kernel cannot enforce:")?;
        self.missing.iter().try_for_each(|missing| write!(f, "\n- {missing}"))
    }
}

impl NotEnforced {
    /// Returns the part.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Returns the reason and the remedy.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for NotEnforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.reason)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Files => "files",
            Part::Network => "network",
            Part::UnixSockets => "Unix sockets",
            Part::Signals => "signals to other processes",
            Part::OtherProcesses => "memory and descriptors of other processes",
            Part::NewProcesses => "new processes",
            Part::Exec => "running programs",
            Part::SystemCalls => "denied system calls",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sandbox: &Sandbox, landlock: Result<u32, String>, filters: bool) -> Vec<Part> {
        let filters = if filters { Ok(()) } else { Err("no filters".to_owned()) };
        sandbox.missing(&landlock, &filters).iter().map(NotEnforced::part).collect()
    }

    #[test]
    fn the_report_lists_what_each_kernel_lacks() {
        use Part::*;
        let plain = Sandbox::new();
        let files = Sandbox::new().no_files();
        let all = Sandbox::new().no_files().no_network().no_exec().no_new_processes();
        let none = || Err("no Landlock".to_owned());
        assert_eq!(parts(&plain, Ok(6), true), []);
        assert_eq!(parts(&plain, Ok(5), true), [UnixSockets]);
        assert_eq!(parts(&plain, none(), true), [UnixSockets, OtherProcesses]);
        assert_eq!(parts(&plain, Ok(6), false), [SystemCalls]);
        assert_eq!(parts(&files, Ok(9), true), []);
        assert_eq!(parts(&files, Ok(7), true), [UnixSockets]);
        assert_eq!(parts(&files, Ok(4), true), [Files, UnixSockets, UnixSockets]);
        assert_eq!(parts(&all, Ok(5), true), []);
        assert_eq!(parts(&all, none(), true), [Files, OtherProcesses]);
        assert_eq!(
            parts(&all, none(), false),
            [
                Files,
                Network,
                UnixSockets,
                UnixSockets,
                Signals,
                OtherProcesses,
                NewProcesses,
                Exec,
                SystemCalls
            ]
        );
    }
}
