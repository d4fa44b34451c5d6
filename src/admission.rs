//! How much the pod may hold at once: tasks and their payloads' bytes, from intake until the answer is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pod's budget of tasks and bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskBudget {
    inner: Arc<BudgetInner>,
}

#[derive(Debug)]
struct BudgetInner {
    max_tasks: usize,
    max_bytes: usize,
    tasks: AtomicUsize,
    bytes: AtomicUsize,
}

impl TaskBudget {
    #[must_use]
    pub fn new(max_tasks: usize, max_bytes: usize) -> Self {
        let (tasks, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        TaskBudget { inner: Arc::new(BudgetInner { max_tasks, max_bytes, tasks, bytes }) }
    }

    /// Admits one task with a payload of `bytes`. Never refuses: a record that has been read must be kept, so intake
    /// pauses at [`TaskBudget::is_full`], and one poll's records may exceed the budget.
    #[must_use]
    pub fn admit(&self, bytes: usize) -> Admission {
        self.inner.tasks.fetch_add(1, Ordering::Relaxed);
        self.inner.bytes.fetch_add(bytes, Ordering::Relaxed);
        Admission { budget: Arc::clone(&self.inner), bytes }
    }

    /// Intake pauses here.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tasks() >= self.inner.max_tasks || self.bytes() >= self.inner.max_bytes
    }

    /// How many more tasks may be held, at the average size of the present ones.
    #[must_use]
    pub fn room(&self) -> usize {
        let BudgetInner { max_tasks, max_bytes, .. } = *self.inner;
        let free_bytes = max_bytes.saturating_sub(self.bytes());
        let by_bytes = max_tasks as u128 * free_bytes as u128 / max_bytes.max(1) as u128;
        max_tasks.saturating_sub(self.tasks()).min(usize::try_from(by_bytes).unwrap_or(usize::MAX))
    }

    /// Intake resumes here: below three quarters, so that it does not toggle with every task.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.tasks() < low_water(self.inner.max_tasks) && self.bytes() < low_water(self.inner.max_bytes)
    }

    #[must_use]
    pub fn tasks(&self) -> usize {
        self.inner.tasks.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.bytes.load(Ordering::Relaxed)
    }
}

/// At least 1, so that an empty pod has room whatever its maximum.
fn low_water(max: usize) -> usize {
    (max - max / 4).max(1)
}

/// One task's part of the budget, released when this is dropped.
#[derive(Debug)]
pub struct Admission {
    budget: Arc<BudgetInner>,
    bytes: usize,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.budget.tasks.fetch_sub(1, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_and_bytes_fill_the_budget_until_they_are_dropped() {
        let budget = TaskBudget::new(4, 100);
        let held: Vec<_> = (0..4).map(|_| budget.admit(1)).collect();
        assert!(budget.is_full());
        drop(held);
        let large = budget.admit(500);
        assert!(budget.is_full());
        assert_eq!((budget.tasks(), budget.bytes()), (1, 500));
        drop(large);
        assert_eq!((budget.tasks(), budget.bytes()), (0, 0));
    }

    #[test]
    fn the_room_that_is_left_falls_with_tasks_and_with_bytes() {
        let budget = TaskBudget::new(10, 1_000);
        let small = budget.admit(1);
        assert_eq!(budget.room(), 9);
        let large = budget.admit(800);
        assert_eq!(budget.room(), 1);
        drop((small, large));
        assert_eq!(budget.room(), 10);
    }

    #[test]
    fn intake_goes_on_below_three_quarters() {
        let budget = TaskBudget::new(8, 1_000);
        let mut held: Vec<_> = (0..6).map(|_| budget.admit(0)).collect();
        assert!(!budget.is_full() && !budget.has_room());
        held.pop();
        assert!(budget.has_room());
    }

    #[test]
    fn an_empty_pod_has_room() {
        assert!(TaskBudget::new(1, 1).has_room());
    }
}
