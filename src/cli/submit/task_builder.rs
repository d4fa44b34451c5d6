//! Two places, `CONNECTION:PATH` each, and the tasks between them.

use std::sync::Arc;

use ftp_listing::data_set;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::args::{AfterArg, IdFrom, TaskOptions, VerifyArg};
use super::filter::ListedSource;
use super::task_ids::{self, TaskContent};
use crate::config::{ConfiguredConnections, FtpConnection, LocalConnection};
use crate::text::nearest;

/// Where files come from or go to.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub connection: LocationConnection,
    pub path: String,
}

#[derive(Clone, Debug)]
pub(super) enum LocationConnection {
    Ftp(Arc<FtpConnection>),
    Local(Arc<LocalConnection>),
}

impl LocationConnection {
    pub fn name(&self) -> &str {
        match self {
            LocationConnection::Ftp(ftp) => &ftp.name,
            LocationConnection::Local(local) => &local.name,
        }
    }
}

impl Location {
    /// Reads `CONNECTION:PATH`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str, connections: &ConfiguredConnections) -> Result<Location, String> {
        let Some((name, path)) = text.split_once(':') else {
            return Err(format!("'{text}' is not CONNECTION:PATH, such as remote-ftp:/pub/"));
        };
        let connection = match (connections.ftp.get(name), connections.local.get(name)) {
            (Some(ftp), _) => LocationConnection::Ftp(Arc::clone(ftp)),
            (_, Some(local)) => LocationConnection::Local(Arc::clone(local)),
            (None, None) => {
                let known: Vec<&str> =
                    connections.ftp.keys().chain(connections.local.keys()).map(String::as_str).collect();
                let meant = nearest(name, known.iter().copied())
                    .map(|meant| format!(", did you mean '{meant}'?"))
                    .unwrap_or_default();
                let there = known.join(", ");
                return Err(format!("there is no connection '{name}'{meant} (there are: {there})"));
            }
        };
        Ok(Location { connection, path: path.to_owned() })
    }

    /// The name says that it is a directory.
    pub fn is_directory(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// The path of a file beneath this directory.
    pub fn beneath(&self, relative: &str) -> String {
        match &self.connection {
            LocationConnection::Ftp(_) => data_set::beneath(&self.path, relative),
            LocationConnection::Local(_) => None,
        }
        .unwrap_or_else(|| beneath(&self.path, relative))
    }
}

/// `directory` and a path beneath it; an empty directory is where the connection begins.
pub(super) fn beneath(directory: &str, relative: &str) -> String {
    match directory {
        "" => relative.to_owned(),
        directory => format!("{}/{relative}", directory.trim_end_matches('/')),
    }
}

/// Makes tasks of files.
#[derive(Debug)]
pub(super) struct TaskBuilder<'a> {
    operation: &'static str,
    source: &'a Location,
    destination: &'a Location,
    options: Map<String, Value>,
    move_to: Option<String>,
    id_from: IdFrom,
    /// The source is the file itself, so the destination may be as well.
    is_single: bool,
}

impl<'a> TaskBuilder<'a> {
    /// # Errors
    /// Both places are of one kind.
    pub fn new(
        source: &'a Location,
        destination: &'a Location,
        options: &TaskOptions,
        id_from: IdFrom,
        now: Timestamp,
    ) -> Result<TaskBuilder<'a>, String> {
        let operation = match (&source.connection, &destination.connection) {
            (LocationConnection::Ftp(_), LocationConnection::Local(_)) => "download",
            (LocationConnection::Local(_), LocationConnection::Ftp(_)) => "upload",
            (one, other) => {
                let kind =
                    if matches!(one, LocationConnection::Ftp(_)) { "FTP connections" } else { "local" };
                let both = format!("'{}' and '{}' are both {kind}", one.name(), other.name());
                return Err(format!("{both}; a task goes from FTP to local or from local to FTP"));
            }
        };
        let move_to = match &options.after {
            Some(AfterArg::MoveTo(directory)) => Some(directory.clone()),
            _ => None,
        };
        let options = options_of(options, now);
        Ok(TaskBuilder { operation, source, destination, options, move_to, id_from, is_single: false })
    }

    /// The source has turned out to be a file.
    pub fn single(&mut self) {
        self.is_single = true;
    }

    /// The task that moves a file.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn task(&self, found: &ListedSource) -> Result<String, std::io::Error> {
        let (source, destination) = if self.is_single {
            let name = self.source.path.rsplit('/').next().unwrap_or_default();
            let to = if self.destination.is_directory() {
                self.destination.beneath(name)
            } else {
                self.destination.path.clone()
            };
            (self.source.path.clone(), to)
        } else {
            (self.source.beneath(&found.path), self.destination.beneath(&found.path))
        };
        let (from, to) = (self.source.connection.name(), self.destination.connection.name());
        let task_id = match self.id_from {
            IdFrom::Random => task_ids::random()?,
            IdFrom::Content => task_ids::of_content(&TaskContent {
                operation: self.operation,
                source: (from, &source),
                destination: (to, &destination),
                size: found.size,
                modified: found.exact_time,
            }),
        };
        let mut task = json!({
            "task_id": task_id, "operation": self.operation,
            "source": {"connection_id": from, "path": source},
            "destination": {"connection_id": to, "path": destination},
        });
        let mut options = self.options.clone();
        if let Some(directory) = &self.move_to {
            options.insert("after".to_owned(), json!({"move_to": beneath(directory, &found.path)}));
        }
        if !options.is_empty()
            && let Some(task) = task.as_object_mut()
        {
            task.insert("options".to_owned(), Value::Object(options));
        }
        Ok(task.to_string())
    }
}

fn options_of(given: &TaskOptions, now: Timestamp) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(key.to_owned(), value);
        }
    };
    set("overwrite", given.no_overwrite.then_some(Value::Bool(false)));
    set("retry_count", given.retry_count.map(|count| json!(count)));
    let verify = given.verify.map(|how| match how {
        VerifyArg::None => "none",
        VerifyArg::Size => "size",
        VerifyArg::Hash => "hash",
        VerifyArg::Auto => "auto",
    });
    set("verify", verify.map(|how| json!(how)));
    set("resume", given.no_resume.then_some(Value::Bool(false)));
    set("preserve_mtime", given.preserve_mtime.then_some(Value::Bool(true)));
    set("defer", given.no_defer.then_some(Value::Bool(false)));
    set("deadline", given.deadline.map(|moment| json!(format!("{:.0}", moment.after(now)))));
    let after = match given.after {
        Some(AfterArg::Keep) => Some(json!("keep")),
        Some(AfterArg::Delete) => Some(json!("delete")),
        Some(AfterArg::MoveTo(_)) | None => None,
    };
    set("after", after);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> ConfiguredConnections {
        let mut connections = ConfiguredConnections::default();
        let ftp = FtpConnection { name: "remote".into(), ..FtpConnection::default() };
        connections.ftp.insert("remote".into(), Arc::new(ftp));
        let local = LocalConnection { name: "local".into(), base_path: "/data".into() };
        connections.local.insert("local".into(), Arc::new(local));
        connections
    }

    fn no_options() -> TaskOptions {
        TaskOptions {
            no_overwrite: false,
            retry_count: None,
            verify: None,
            after: None,
            preserve_mtime: false,
            no_resume: false,
            no_defer: false,
            deadline: None,
        }
    }

    fn task(from: &str, to: &str, options: &TaskOptions, is_single: bool) -> Value {
        let connections = connections();
        let (from, to) =
            (Location::parse(from, &connections).unwrap(), Location::parse(to, &connections).unwrap());
        let now = "2025-01-15T10:30:00.5Z".parse().unwrap();
        let mut maker = TaskBuilder::new(&from, &to, options, IdFrom::Content, now).unwrap();
        if is_single {
            maker.single();
        }
        let found = ListedSource { path: "x/a.csv".into(), size: Some(1), modified: None, exact_time: None };
        serde_json::from_str(&maker.task(&found).unwrap()).unwrap()
    }

    fn paths(task: &Value) -> (&str, &str) {
        (task["source"]["path"].as_str().unwrap(), task["destination"]["path"].as_str().unwrap())
    }

    #[test]
    fn a_files_path_beneath_the_source_is_its_path_beneath_the_destination() {
        let options = no_options();
        let whole = task("remote:/pub/", "local:/in/", &options, false);
        assert_eq!(paths(&whole), ("/pub/x/a.csv", "/in/x/a.csv"));
        assert_eq!(whole["operation"], "download");
        assert_eq!(whole.get("options"), None);
        assert_eq!(paths(&task("remote:", "local:", &options, false)), ("x/a.csv", "x/a.csv"));
        assert_eq!(paths(&task("remote:/", "local:/in", &options, false)), ("/x/a.csv", "/in/x/a.csv"));
        assert_eq!(task("local:/out", "remote:/in", &options, false)["operation"], "upload");
    }

    #[test]
    fn a_single_files_destination_is_a_name_or_a_directory() {
        let options = no_options();
        assert_eq!(paths(&task("remote:/p/a", "local:/in/b", &options, true)), ("/p/a", "/in/b"));
        assert_eq!(paths(&task("remote:/p/a", "local:/in/", &options, true)), ("/p/a", "/in/a"));
        assert_eq!(paths(&task("remote:/p/a", "local:", &options, true)), ("/p/a", "a"));
    }

    #[test]
    fn options_are_those_of_the_contract() {
        let options = TaskOptions {
            no_overwrite: true,
            retry_count: Some(9),
            verify: Some(VerifyArg::Auto),
            after: Some(AfterArg::MoveTo("/done".into())),
            deadline: Some(super::super::super::arg_parsers::moment("1h").unwrap()),
            no_defer: true,
            ..no_options()
        };
        let expected = json!({"overwrite": false, "retry_count": 9, "verify": "auto", "defer": false,
            "deadline": "2025-01-15T11:30:00Z", "after": {"move_to": "/done/x/a.csv"}});
        assert_eq!(task("remote:/pub", "local:/in", &options, false)["options"], expected);
    }

    #[test]
    fn a_place_that_is_none_says_what_would_be_one() {
        let connections = connections();
        let problem = |text: &str| Location::parse(text, &connections).unwrap_err();
        assert!(problem("/pub").contains("CONNECTION:PATH"));
        assert!(problem("remte:/pub").contains("did you mean 'remote'?"));
        let place = Location::parse("remote:/a", &connections).unwrap();
        let both = TaskBuilder::new(&place, &place, &no_options(), IdFrom::Random, Timestamp::UNIX_EPOCH);
        assert!(both.unwrap_err().contains("both FTP"));
    }
}
