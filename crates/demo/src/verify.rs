//! Whether every record was answered once and rightly, and whether every file is right. Counts as it goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;

use crate::answer::{Answer, Kind};
use crate::plan::{Expected, Operation, Plan, Planned};
use crate::site::Site;

/// Files and bytes moved one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub files: u64,
    pub bytes: u64,
}

/// Failures with one code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub on_purpose: u64,
    pub unwanted: u64,
    /// Why they failed, where it was on purpose.
    pub why: BTreeSet<&'static str>,
}

/// Checks the answers as they arrive.
#[derive(Debug)]
pub struct Verifier<'a> {
    waiting: HashMap<&'a str, &'a Planned>,
    answered: HashMap<&'a str, &'a Planned>,
    pub downloads: Moved,
    pub uploads: Moved,
    pub failures: BTreeMap<String, Failures>,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
}

impl<'a> Verifier<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        Verifier {
            waiting: plan.records.iter().map(|planned| (planned.key.as_str(), planned)).collect(),
            answered: HashMap::new(),
            downloads: Moved::default(),
            uploads: Moved::default(),
            failures: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Records still without an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// What has been answered, in words.
    pub fn told(&self) -> String {
        let bytes = HumanBytes(self.downloads.bytes + self.uploads.bytes);
        let failures: u64 = self.failures.values().map(|failures| failures.on_purpose).sum();
        let told = format!("{bytes}, {failures} failed on purpose");
        match self.problems.len() {
            0 => told,
            problems => format!("{told}, {problems} WRONG"),
        }
    }

    /// Checks one answer. False if it answers none of the plan's records.
    pub fn take(&mut self, answer: &Answer) -> bool {
        let Some((key, planned)) = self.waiting.remove_entry(answer.key.as_str()) else {
            let is_ours = self.answered.contains_key(answer.key.as_str());
            if is_ours {
                self.problems.push(format!("{}: answered more than once", answer.key));
            }
            return is_ours;
        };
        self.answered.insert(key, planned);
        let verdict = answer.check(planned);
        self.count(answer, planned, verdict.is_ok());
        self.problems.extend(verdict.err().map(|problem| format!("{key}: {problem}")));
        true
    }

    fn count(&mut self, answer: &Answer, planned: &Planned, is_right: bool) {
        match (&planned.expected, answer.kind) {
            (Expected::Moved { operation, file, .. }, Kind::Result) => {
                let moved = match operation {
                    Operation::Download => &mut self.downloads,
                    Operation::Upload => &mut self.uploads,
                };
                moved.files += 1;
                moved.bytes += file.size() as u64;
            }
            (Expected::Refused(_), Kind::Result) => {}
            (expected, Kind::Failure) => {
                let code = answer.code().unwrap_or_else(|| "without a code".to_owned());
                let failures = self.failures.entry(code).or_default();
                match expected {
                    Expected::Refused(refusal) if is_right => {
                        failures.on_purpose += 1;
                        failures.why.insert(refusal.why);
                    }
                    _ => failures.unwanted += 1,
                }
            }
        }
    }

    /// No more answers will come: missing ones are problems.
    pub fn close(&mut self) {
        let mut missing: Vec<_> = self.waiting.keys().map(|key| format!("{key}: no answer")).collect();
        missing.sort_unstable();
        self.problems.append(&mut missing);
    }
}

/// Compares every file byte for byte, and searches for files that should not exist (partial ones, temporary ones, those
/// of failed tasks). Returns what is wrong, one line each.
///
/// # Errors
/// A directory cannot be read.
pub fn compare_files(plan: &Plan, site: &Site) -> io::Result<Vec<String>> {
    let mut expected = BTreeMap::new();
    for planned in &plan.records {
        if let Expected::Moved { file, from, to, .. } = &planned.expected {
            expected.insert(from.clone(), *file);
            expected.insert(to.clone(), *file);
        }
    }
    expected.extend(plan.untouched.iter().cloned());
    let differs = |(path, file): (&PathBuf, &super::files::DemoFile)| {
        file.compare(path).err().map(|problem| format!("{}: {problem}", path.display()))
    };
    let mut problems: Vec<_> = expected.iter().filter_map(differs).collect();
    for root in [site.server(), site.storage(), site.outside()] {
        for path in files_beneath(&root)? {
            if !expected.contains_key(&path) {
                problems.push(format!("{}: should not be there", path.display()));
            }
        }
    }
    Ok(problems)
}

/// All files beneath a directory; symbolic links are not followed.
fn files_beneath(root: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::answer::HEADER;

    fn demo(files: usize) -> (Site, Plan) {
        let site = Site::create(None).unwrap();
        let plan = Plan::new(files, &site);
        (site, plan)
    }

    fn answer(planned: &Planned, kind: Kind, message: &Value) -> Answer {
        let headers = vec![(HEADER.to_owned(), planned.key.clone().into_bytes())];
        Answer { kind, key: planned.key.clone(), headers, payload: message.to_string() }
    }

    /// The answer as the contract wants it.
    fn right(planned: &Planned) -> Answer {
        match &planned.expected {
            Expected::Moved { file, .. } => {
                let message = json!({
                    "task_id": planned.key, "status": "completed", "bytes_transferred": file.size(),
                    "duration_ms": 3, "completed_at": "2025-01-15T10:30:00Z"
                });
                answer(planned, Kind::Result, &message)
            }
            Expected::Refused(refusal) => {
                let task = planned
                    .payload
                    .as_deref()
                    .map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!({"raw": text})));
                let error = json!({
                    "code": refusal.code, "message": "because", "ftp_code": null,
                    "retryable": refusal.is_retryable()
                });
                let message = json!({
                    "task_id": refusal.has_id.then_some(&planned.key), "status": "failed", "error": error,
                    "attempts": u8::from(refusal.is_begun), "failed_at": "2025-01-15T10:30:00Z", "task": task
                });
                answer(planned, Kind::Failure, &message)
            }
        }
    }

    /// The problems where one record's right answer is changed by `change`.
    fn problems_with(change: impl Fn(&mut Value), of: impl Fn(&Planned) -> bool) -> Vec<String> {
        let (_site, plan) = demo(20);
        let mut verifier = Verifier::new(&plan);
        let changed = plan.records.iter().position(of).unwrap();
        for (number, planned) in plan.records.iter().enumerate() {
            let mut answer = right(planned);
            if number == changed {
                let mut message = serde_json::from_str(&answer.payload).unwrap();
                change(&mut message);
                answer.payload = message.to_string();
            }
            verifier.take(&answer);
        }
        verifier.close();
        verifier.problems
    }

    fn is_moved(planned: &Planned) -> bool {
        matches!(planned.expected, Expected::Moved { .. })
    }

    #[test]
    fn right_answers_are_no_problem_and_are_counted() {
        let (_site, plan) = demo(20);
        let mut verifier = Verifier::new(&plan);
        assert!(plan.records.iter().all(|planned| verifier.take(&right(planned))));
        verifier.close();
        assert_eq!(verifier.problems, Vec::<String>::new());
        assert_eq!((verifier.downloads.files, verifier.uploads.files), (12, 8));
        assert_eq!(verifier.downloads.bytes + verifier.uploads.bytes, plan.bytes());
        let failures: u64 = verifier.failures.values().map(|failures| failures.on_purpose).sum();
        assert_eq!(failures + 20, plan.records.len() as u64);
    }

    #[test]
    fn a_wrong_field_is_a_problem_that_names_it() {
        for (field, value) in [
            ("/bytes_transferred", json!(7)),
            ("/status", json!("done")),
            ("/task_id", json!("another")),
            ("/completed_at", json!("yesterday")),
            ("/duration_ms", json!(-1)),
        ] {
            let problems =
                problems_with(|message| *message.pointer_mut(field).unwrap() = value.clone(), is_moved);
            assert!(problems.len() == 1 && problems[0].contains(field), "{field}: {problems:?}");
        }
        for (field, value) in [
            ("/error/retryable", json!("no")),
            ("/error/message", json!("")),
            ("/error/ftp_code", json!("550")),
            ("/attempts", json!(null)),
            ("/task", json!({})),
            ("/failed_at", json!(5)),
        ] {
            let problems = problems_with(
                |message| *message.pointer_mut(field).unwrap() = value.clone(),
                |planned| !is_moved(planned),
            );
            assert!(problems.len() == 1 && problems[0].contains(field), "{field}: {problems:?}");
        }
    }

    #[test]
    fn another_code_than_wanted_is_a_problem_and_no_failure_on_purpose() {
        let change = |message: &mut Value| message["error"]["code"] = json!("internal");
        let problems = problems_with(change, |planned| !is_moved(planned));
        assert!(problems.len() == 1 && problems[0].contains("internal"), "{problems:?}");
    }

    #[test]
    fn a_missing_a_doubled_and_a_lost_header_are_problems() {
        let (_site, plan) = demo(3);
        let mut verifier = Verifier::new(&plan);
        let [missing, doubled, bare, rest @ ..] = plan.records.as_slice() else { panic!("too few") };
        verifier.take(&right(doubled));
        verifier.take(&right(doubled));
        verifier.take(&Answer { headers: Vec::new(), ..right(bare) });
        assert!(rest.iter().all(|planned| verifier.take(&right(planned))));
        assert_eq!(verifier.waiting(), 1);
        verifier.close();
        let [twice, headers, none] = verifier.problems.as_slice() else { panic!("{:?}", verifier.problems) };
        assert_eq!(*twice, format!("{}: answered more than once", doubled.key));
        assert!(headers.contains("headers did not come back"));
        assert_eq!(*none, format!("{}: no answer", missing.key));
    }

    #[test]
    fn a_success_that_should_have_failed_and_the_reverse_are_problems() {
        let (_site, plan) = demo(3);
        let mut verifier = Verifier::new(&plan);
        for planned in &plan.records {
            let right = right(planned);
            let kind = if right.kind == Kind::Result { Kind::Failure } else { Kind::Result };
            verifier.take(&Answer { kind, ..right });
        }
        assert_eq!(verifier.problems.len(), plan.records.len());
    }

    #[test]
    fn an_answer_to_somebody_elses_record_is_not_ours() {
        let (_site, plan) = demo(3);
        let mut verifier = Verifier::new(&plan);
        let other = Answer { key: "mine-1".to_owned(), ..right(&plan.records[0]) };
        assert!(!verifier.take(&other) && verifier.problems.is_empty());
    }

    #[test]
    fn a_file_that_is_missing_wrong_or_too_many_is_found() {
        let (site, plan) = demo(10);
        plan.prepare(&site).unwrap();
        let destinations = || {
            plan.records.iter().filter_map(|planned| match &planned.expected {
                Expected::Moved { file, to, .. } => Some((*file, to)),
                Expected::Refused(_) => None,
            })
        };
        assert_eq!(compare_files(&plan, &site).unwrap().len(), 10, "nothing has been transferred");
        destinations().for_each(|(file, to)| file.write(to).unwrap());
        assert_eq!(compare_files(&plan, &site).unwrap(), Vec::<String>::new());

        let (_, wrong) = destinations().find(|(file, _)| file.size() > 0).unwrap();
        std::fs::write(wrong, "half").unwrap();
        let left = site.server().join("inbox/.half.tmp");
        std::fs::write(&left, "").unwrap();
        let problems = compare_files(&plan, &site).unwrap();
        assert!(problems[0].starts_with(&format!("{}: has 4 bytes", wrong.display())), "{problems:?}");
        assert_eq!(problems[1..], [format!("{}: should not be there", left.display())]);
    }
}
