//! What the demonstration prints: numbered steps, a few lines each.

use std::io::{self, Write};

/// Writes the steps.
pub(super) struct Console<'a> {
    out: &'a mut dyn Write,
    step: u32,
}

impl<'a> Console<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, step: 0 }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, what: &str) -> io::Result<()> {
        self.step += 1;
        writeln!(self.out, "\n{}. {what}", self.step)
    }

    /// Begins a part that is no step.
    pub(super) fn title(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "\n{what}")?;
        self.out.flush()
    }

    /// Something seen.
    pub(super) fn line(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "   {what}")
    }

    /// The command that repeats the step.
    pub(super) fn command(&mut self, command: &str) -> io::Result<()> {
        writeln!(self.out, "   $ {command}")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered() {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out);
        console.step("first").unwrap();
        console.line("seen").unwrap();
        console.step("second").unwrap();
        console.command("curl x").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\n1. first\n   seen\n\n2. second\n   $ curl x\n");
    }
}
