//! Which file the configuration is read from, now and at each reload.

use std::path::{Path, PathBuf};

use super::{Config, Environment, LogLevels, Origin, Problems, load, parse};

/// The place of the configuration, and what the command line says over it.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// `None`: the shipped configuration that is part of the program.
    path: Option<PathBuf>,
    directory: PathBuf,
    log_levels: Option<LogLevels>,
}

impl ConfigFile {
    /// Where the configuration is looked for when nobody says where.
    pub const DEFAULT: &str = "config/notification.yaml";
    /// The variable that says where.
    pub const VARIABLE: &str = "GATEWAY_CONFIG";

    /// The file `named`, else the one that [`ConfigFile::VARIABLE`] names, else [`ConfigFile::DEFAULT`] below
    /// `directory` if it is there, else the shipped configuration inside the program. `log_levels` win over the
    /// file's.
    ///
    /// # Errors
    /// If the `.env` file in `directory` is wrong.
    pub fn find(
        named: Option<PathBuf>,
        log_levels: Option<LogLevels>,
        directory: &Path,
    ) -> Result<Self, Problems> {
        let environment = Environment::read(directory)?;
        let path = named.or_else(|| environment.get(Self::VARIABLE).map(PathBuf::from)).or_else(|| {
            let default = PathBuf::from(Self::DEFAULT);
            directory.join(&default).exists().then_some(default)
        });
        Ok(Self { path, directory: directory.to_owned(), log_levels })
    }

    /// The variables as they are now.
    ///
    /// # Errors
    /// If the `.env` file is wrong.
    pub fn environment(&self) -> Result<Environment, Problems> {
        Environment::read(&self.directory)
    }

    /// Reads the file and the variables as they are now.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(&self) -> Result<Config, Problems> {
        let environment = self.environment()?;
        let mut config = match &self.path {
            Some(path) => load(path, &environment)?,
            None => parse(&self.to_string().into(), SHIPPED, &environment)?,
        };
        if let Some(levels) = &self.log_levels {
            config.logging.levels = levels.clone();
            for setting in config.settings.iter_mut().filter(|setting| setting.path == "logging.level") {
                setting.shown = levels.to_string();
                setting.origin = Origin::CommandLine;
            }
        }
        Ok(config)
    }
}

impl std::fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("(built in)"),
        }
    }
}

const SHIPPED: &str = include_str!("../../config/notification.yaml");
