//! Builds the tasks between two places.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::filter::ListedSource;
use super::location::{Location, LocationConnection, beneath};
use super::task_ids::{self, TaskContent};
use crate::config::{AfterTransfer, TaskSettings, TimeArgument};

/// Creates tasks for files.
#[derive(Debug)]
pub struct TaskBuilder<'a> {
    operation: &'static str,
    source: &'a Location,
    destination: &'a Location,
    options: Map<String, Value>,
    move_to: Option<String>,
    /// The source is a single file, so the destination may be one as well.
    is_single: bool,
}

impl<'a> TaskBuilder<'a> {
    /// # Errors
    /// If both places are of the same kind.
    pub fn new(
        source: &'a Location,
        destination: &'a Location,
        settings: &TaskSettings,
        deadline: Option<TimeArgument>,
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
        let move_to = match &settings.after {
            AfterTransfer::MoveTo(directory) => Some(directory.clone()),
            AfterTransfer::Keep | AfterTransfer::Delete => None,
        };
        let options = options_of(settings, deadline, now);
        Ok(TaskBuilder { operation, source, destination, options, move_to, is_single: false })
    }

    /// The source has turned out to be a file.
    pub fn single(&mut self) {
        self.is_single = true;
    }

    /// A file's source and destination paths, as the task writes them.
    fn paths(&self, found: &ListedSource) -> (String, String) {
        if !self.is_single {
            return (self.source.beneath(&found.path), self.destination.beneath(&found.path));
        }
        let name = self.source.path.rsplit('/').next().unwrap_or_default();
        let to = if self.destination.is_directory() {
            self.destination.beneath(name)
        } else {
            self.destination.path.clone()
        };
        (self.source.path.clone(), to)
    }

    /// A task id that is the same for the same content.
    #[must_use]
    pub fn content_id(&self, found: &ListedSource) -> String {
        let (source, destination) = self.paths(found);
        task_ids::of_content(&TaskContent {
            operation: self.operation,
            source: (self.source.connection.name(), &source),
            destination: (self.destination.connection.name(), &destination),
            size: found.size,
            modified: found.exact_time,
        })
    }

    /// The task that moves a file, with this id.
    #[must_use]
    pub fn task(&self, task_id: &str, found: &ListedSource) -> String {
        let (source, destination) = self.paths(found);
        let (from, to) = (self.source.connection.name(), self.destination.connection.name());
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
        task.to_string()
    }
}

fn options_of(settings: &TaskSettings, deadline: Option<TimeArgument>, now: Timestamp) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(key.to_owned(), value);
        }
    };
    set("overwrite", settings.overwrite.map(Value::Bool));
    set("retry_count", settings.retry_count.map(|count| json!(count)));
    set("verify", settings.verify.as_deref().map(|how| json!(how)));
    set("resume", settings.resume.map(Value::Bool));
    set("preserve_mtime", settings.preserve_mtime.map(Value::Bool));
    set("defer", settings.defer.map(Value::Bool));
    let deadline = deadline.or(settings.deadline.map(TimeArgument::Ago));
    set("deadline", deadline.map(|moment| json!(format!("{:.0}", moment.after(now)))));
    set("after", (settings.after == AfterTransfer::Delete).then(|| json!("delete")));
    options
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{ConfiguredConnections, FtpConnection, LocalConnection};

    fn connections() -> ConfiguredConnections {
        let mut connections = ConfiguredConnections::default();
        let ftp = FtpConnection { name: "remote".into(), ..FtpConnection::default() };
        connections.ftp.insert("remote".into(), Arc::new(ftp));
        let local = LocalConnection { name: "local".into(), base_path: "/data".into() };
        connections.local.insert("local".into(), Arc::new(local));
        connections
    }

    fn task(from: &str, to: &str, options: &TaskSettings, is_single: bool) -> Value {
        let connections = connections();
        let (from, to) =
            (Location::parse(from, &connections).unwrap(), Location::parse(to, &connections).unwrap());
        let now = "2025-01-15T10:30:00.5Z".parse().unwrap();
        let deadline = Some(TimeArgument::parse("1h").unwrap()).filter(|_| options.retry_count == Some(9));
        let mut maker = TaskBuilder::new(&from, &to, options, deadline, now).unwrap();
        if is_single {
            maker.single();
        }
        let found = ListedSource { path: "x/a.csv".into(), size: Some(1), modified: None, exact_time: None };
        serde_json::from_str(&maker.task(&maker.content_id(&found), &found)).unwrap()
    }

    fn paths(task: &Value) -> (&str, &str) {
        (task["source"]["path"].as_str().unwrap(), task["destination"]["path"].as_str().unwrap())
    }

    #[test]
    fn a_files_path_beneath_the_source_is_its_path_beneath_the_destination() {
        let options = TaskSettings::default();
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
        let options = TaskSettings::default();
        assert_eq!(paths(&task("remote:/p/a", "local:/in/b", &options, true)), ("/p/a", "/in/b"));
        assert_eq!(paths(&task("remote:/p/a", "local:/in/", &options, true)), ("/p/a", "/in/a"));
        assert_eq!(paths(&task("remote:/p/a", "local:", &options, true)), ("/p/a", "a"));
    }

    #[test]
    fn options_are_those_of_the_contract() {
        let options = TaskSettings {
            overwrite: Some(false),
            retry_count: Some(9),
            verify: Some("auto".to_owned()),
            after: AfterTransfer::MoveTo("/done".into()),
            defer: Some(false),
            ..TaskSettings::default()
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
        let both = TaskBuilder::new(&place, &place, &TaskSettings::default(), None, Timestamp::UNIX_EPOCH);
        assert!(both.unwrap_err().contains("both FTP"));
    }
}
