//! What a run is judged by: pure, so that it can be shown to find what it looks for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::answers::{Answer, Said};
use crate::plan::{Expected, Plan, Side, Task};

/// How every temp file's name begins, on both sides.
const TEMP: &str = ".ftp-pooler-";

/// Whether a file is one of the pooler's temp files.
pub fn is_temp(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMP))
}

/// Where files are looked at.
pub trait Files {
    /// `None` where there is no file.
    fn read(&self, side: Side, path: &str) -> Option<Vec<u8>>;
    /// Every file of a side, relative.
    fn list(&self, side: Side) -> Vec<PathBuf>;
    fn sides(&self) -> Vec<Side>;
}

/// What was found wrong; each with whose it is.
#[derive(Debug, Default)]
pub struct Audit {
    /// Tasks without an answer.
    pub lost: Vec<String>,
    /// Tasks with more than one answer, and what those said.
    pub duplicated: Vec<String>,
    /// Answers that are not what must be, and files that are missing, not whole, or nobody's.
    pub wrong: Vec<String>,
    /// Temp files.
    pub left: Vec<String>,
}

impl Audit {
    pub fn of(plan: &Plan, answers: &[Answer], files: &impl Files) -> Audit {
        let mut audit = Audit::default();
        let by_id = audit.judge_ids(plan, answers);
        for task in &plan.tasks {
            match by_id.get(task.id.as_str()).map_or(&[][..], Vec::as_slice) {
                [] => audit.lost.push(task.id.clone()),
                [one] => audit.judge_answer(plan, task, one),
                many => {
                    let said: Vec<_> = many.iter().map(|answer| &answer.said).collect();
                    audit.duplicated.push(format!("{}: {said:?}", task.id));
                }
            }
            if let Some(wrong) = wrong_file(plan, task, files) {
                audit.wrong.push(format!("{}: {wrong}", task.id));
            }
        }
        audit.judge_strays(plan, files);
        audit
    }

    /// True if nothing is lost, duplicated, wrong or left.
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.duplicated, &self.wrong, &self.left].into_iter().all(Vec::is_empty)
    }

    /// The first of each kind: what a failed run prints.
    pub fn examples(&self) -> String {
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("wrong", &self.wrong),
            ("left", &self.left),
        ];
        let some = kinds.into_iter().filter(|(_, all)| !all.is_empty());
        let told = some.map(|(kind, all)| format!("{kind}: {:#?}", all.iter().take(10).collect::<Vec<_>>()));
        told.collect::<Vec<_>>().join("\n")
    }

    /// Sorts answers by task; those of nobody are wrong.
    fn judge_ids<'a>(&mut self, plan: &Plan, answers: &'a [Answer]) -> HashMap<&'a str, Vec<&'a Answer>> {
        let known: HashSet<&str> = plan.tasks.iter().map(|task| task.id.as_str()).collect();
        let mut by_id: HashMap<&str, Vec<&Answer>> = HashMap::new();
        for answer in answers {
            if known.contains(answer.task_id.as_str()) {
                by_id.entry(&answer.task_id).or_default().push(answer);
            } else {
                self.wrong.push(format!("an answer to nobody's task: {answer:?}"));
            }
        }
        by_id
    }

    fn judge_answer(&mut self, plan: &Plan, task: &Task, answer: &Answer) {
        let right = match (&task.expected, &answer.said) {
            (Expected::Completed { source }, Said::Completed(bytes)) => {
                *bytes == plan.sources[*source].content.len() as u64
            }
            (Expected::Failed { code }, Said::Failed(said, _)) => code == said,
            _ => false,
        };
        if !right {
            self.wrong.push(format!("{}: {:?} where {:?} was due", task.id, answer.said, task.expected));
        }
    }

    /// Files that no task was to make: temp files, and others.
    fn judge_strays(&mut self, plan: &Plan, files: &impl Files) {
        let planned: HashSet<(Side, PathBuf)> =
            plan.tasks.iter().map(|task| (task.destination.0, (&task.destination.1).into())).collect();
        let sources: HashSet<PathBuf> = plan.sources.iter().map(|source| (&source.path).into()).collect();
        for side in files.sides() {
            for path in files.list(side) {
                if is_temp(&path) {
                    self.left.push(format!("{side:?}: {}", path.display()));
                } else if !sources.contains(&path) && !planned.contains(&(side, path.clone())) {
                    self.wrong.push(format!("{side:?}: nobody's file {}", path.display()));
                }
            }
        }
    }
}

/// What is wrong about what lies at a task's destination.
fn wrong_file(plan: &Plan, task: &Task, files: &impl Files) -> Option<String> {
    let (side, path) = &task.destination;
    let found = files.read(*side, path);
    let right = match &task.expected {
        Expected::Completed { source } => Some(plan.sources[*source].content.clone()),
        Expected::Failed { .. } => task.before.map(<[u8]>::to_vec),
    };
    if found == right {
        return None;
    }
    let len =
        |file: &Option<Vec<u8>>| file.as_ref().map_or("nothing".to_owned(), |f| format!("{} bytes", f.len()));
    Some(format!("{} at {side:?} {path:?} where {} of other content are due", len(&found), len(&right)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a faultless run leaves, to be spoilt.
    struct Fake {
        plan: Plan,
        answers: Vec<Answer>,
        files: HashMap<(Side, PathBuf), Vec<u8>>,
    }

    impl Files for HashMap<(Side, PathBuf), Vec<u8>> {
        fn read(&self, side: Side, path: &str) -> Option<Vec<u8>> {
            self.get(&key(side, path)).cloned()
        }

        fn list(&self, side: Side) -> Vec<PathBuf> {
            self.keys().filter(|key| key.0 == side).map(|key| key.1.clone()).collect()
        }

        fn sides(&self) -> Vec<Side> {
            vec![Side::Local, Side::Server(0), Side::Server(1), Side::Server(2)]
        }
    }

    fn key(side: Side, path: &str) -> (Side, PathBuf) {
        (side, path.into())
    }

    fn faultless() -> Fake {
        let plan = Plan::new(300, 1, false);
        let (mut answers, mut files) = (Vec::new(), HashMap::new());
        for task in &plan.tasks {
            let (side, path) = &task.destination;
            let (said, content) = match &task.expected {
                Expected::Completed { source } => {
                    let source = &plan.sources[*source];
                    (Said::Completed(source.content.len() as u64), Some(source.content.clone()))
                }
                Expected::Failed { code } => {
                    (Said::Failed((*code).to_owned(), String::new()), task.before.map(<[u8]>::to_vec))
                }
            };
            answers.push(Answer { task_id: task.id.clone(), said });
            files.extend(content.map(|content| (key(*side, path), content)));
        }
        Fake { plan, answers, files }
    }

    impl Fake {
        fn audit(&self) -> Audit {
            Audit::of(&self.plan, &self.answers, &self.files)
        }

        /// Where a task stands that completes and moves some bytes.
        fn some_completed(&self) -> (usize, (Side, PathBuf)) {
            let moves = |task: &Task| matches!(task.expected, Expected::Completed { source } if self.plan.sources[source].content.len() > 1);
            let at = self.plan.tasks.iter().position(moves).unwrap();
            let (side, path) = &self.plan.tasks[at].destination;
            (at, key(*side, path))
        }
    }

    fn counts(audit: &Audit) -> [usize; 4] {
        [&audit.lost, &audit.duplicated, &audit.wrong, &audit.left].map(Vec::len)
    }

    #[test]
    fn a_faultless_run_is_clean() {
        let audit = faultless().audit();
        assert_eq!(counts(&audit), [0; 4], "{}", audit.examples());
        assert!(audit.is_clean());
    }

    #[test]
    fn a_missing_answer_is_lost() {
        let mut run = faultless();
        run.answers.remove(7);
        assert_eq!(run.audit().lost, ["task-7"]);
        assert!(!run.audit().is_clean());
    }

    #[test]
    fn a_second_answer_is_a_duplicate_even_if_it_says_the_same() {
        let mut run = faultless();
        run.answers.push(run.answers[7].clone());
        assert_eq!(counts(&run.audit()), [0, 1, 0, 0]);
    }

    #[test]
    fn a_failure_where_a_result_is_due_is_wrong_and_so_is_a_wrong_length() {
        let mut run = faultless();
        let (at, _) = run.some_completed();
        run.answers[at].said = Said::Failed("timeout".to_owned(), String::new());
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
        run.answers[at].said = Said::Completed(1);
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
    }

    #[test]
    fn an_answer_to_nobodys_task_is_wrong() {
        let mut run = faultless();
        run.answers.push(Answer { task_id: String::new(), said: Said::Completed(0) });
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
    }

    #[test]
    fn a_torn_a_changed_and_a_missing_file_are_wrong() {
        let mut run = faultless();
        let (_, key) = run.some_completed();
        let whole = run.files[&key].clone();
        run.files.insert(key.clone(), whole[..whole.len() - 1].to_vec());
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
        let mut changed = whole;
        changed[0] ^= 1;
        run.files.insert(key.clone(), changed);
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
        run.files.remove(&key);
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
    }

    #[test]
    fn a_file_that_was_not_to_be_replaced_is_looked_at() {
        let mut run = faultless();
        let kept =
            run.plan.tasks.iter().find(|t| t.expected == Expected::Failed { code: "destination_exists" });
        let (side, path) = &kept.unwrap().destination;
        run.files.insert(key(*side, path), Vec::new());
        assert_eq!(counts(&run.audit()), [0, 0, 1, 0]);
    }

    #[test]
    fn a_temp_file_is_left_and_another_one_is_nobodys() {
        let mut run = faultless();
        run.files.insert(key(Side::Server(1), "in/0/.ftp-pooler-1-2-3.tmp"), Vec::new());
        run.files.insert(key(Side::Local, "in/0/.ftp-pooler-1-2-3.tmp"), Vec::new());
        assert_eq!(counts(&run.audit()), [0, 0, 0, 2]);
        run.files.insert(key(Side::Server(2), "in/0/who?"), Vec::new());
        assert_eq!(counts(&run.audit()), [0, 0, 1, 2]);
    }
}
