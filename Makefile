# Everything a newcomer types. The targets install what a fresh Debian machine lacks, and say so.

.DEFAULT_GOAL := help
# What `make chaos` may be told.
CHAOS := TASKS FEED_FILES PODS BROKERS NET TUNNEL SEED DELIVERY PROTOCOL ONLY BROKER_AWAY REDO REPORT

.PHONY: help demo test operator-test chaos spread feeds million report fuzz bench bench-router router-cost lint fmt deps build-deps image-test compose-test cluster-test fresh-test package package-test

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build-deps ## Watch files move: broker and FTP server in one process, nothing to set up
	@cargo build --locked -p ftp-pooler
	@cargo run --locked --quiet -p ftp-pooler -- demo $(ARGS)

test: deps ## All tests, on a real Apache Kafka and a real vsftpd; fetches both the first time
	@scripts/test.sh

operator-test: deps ## The tunnels' operator on a real kube-apiserver and etcd; builds the former from the Go proxy the first time (12 minutes of CPU)
	@scripts/install-deps.sh operator
	@cargo test --locked -p frp-tunnels --features operator --lib -- operator
	@cargo test --locked -p frp-tunnels --features operator --test operator -- --include-ignored --test-threads=1 $(ARGS)

chaos: deps ## Kill pods, broker and FTP servers under load, then audit every answer and file (TASKS=100000 PODS=4 BROKERS=3 NET=1 SEED=7)
	@$(foreach name,$(CHAOS),$(if $($(name)),FTP_POOLER_CHAOS_$(name)='$($(name))')) \
		FTP_POOLER_CHAOS_FEED_FILES='$(or $(FEED_FILES),5000)' cargo test --locked --test chaos -- --ignored --exact --nocapture \
		every_task_is_answered_once_whatever_dies each_version_that_stood_still_is_moved_once_whatever_dies

spread: deps ## Pods join, leave and restart; each must have its share of the partitions (TRIALS=20)
	@FTP_POOLER_SPREAD_TRIALS=$(or $(TRIALS),1) cargo test --locked --test e2e -- --ignored --exact --nocapture \
		spread::each_pod_has_its_share_of_the_input_topic_whatever_joins_leaves_or_restarts

report: deps ## The suite and chaos, and docs/TEST_REPORT.md written from them (TASKS=100000 PODS=4 SEED=7)
	@scripts/test-report.sh $(foreach name,TASKS PODS SEED,$(if $($(name)),$(name)='$($(name))'))

million: build-deps ## A directory with a million files: listed, written to, swept
	@cargo test --locked --lib -p ftp-pooler -- --ignored --nocapture a_directory_with_a_million_files

feeds: deps ## A feed over a directory with very many files: time and memory of its listings (ENTRIES=200000)
	@FTP_POOLER_FEED_ENTRIES=$(or $(ENTRIES),200000) cargo test --locked --test e2e -- --ignored --exact --nocapture \
		feeds_many::a_directory_with_very_many_files_is_listed_in_bounded_memory

fuzz: build-deps ## Fuzz decoder, ledger metadata, replies, listings, connections.ini and the router's heads, a minute each (SECONDS_EACH=600)
	@scripts/fuzz.sh

bench: ## The pooler side by side with a Python worker, rclone, lftp and curl (ARGS=--quick for a first look); a link of 20 ms as root
	@scripts/bench.sh $(ARGS)

bench-router: ## The pattern router beside nginx, by ratios of CPU and latency (ROUNDS=6 SECONDS_EACH=5 SCENARIOS=k64,ws)
	@scripts/bench-router.sh

router-cost: deps ## Instructions that the router as it is shipped spends on a request, counted by callgrind
	@cargo test --locked --test proxy -- --ignored --exact --nocapture cost::a_request_with_a_session_takes_no_more_instructions_than_it_may

package: build-deps ## A .deb with systemd unit, man pages and completions, and a tarball, in target/package
	@scripts/package.sh

package-test: ## make package, its unit by systemd's rules, installed in a bare Debian (root or docker)
	@tests/containers/package.sh

image-test: ## Build the image with the Dockerfile and try it (root or docker; exits 77 where it cannot run)
	@tests/containers/image.sh

compose-test: ## docker-compose.yml with its e2e service, as it is (root or docker)
	@tests/containers/compose.sh

cluster-test: ## k8s/test on a real Kubernetes of two nodes, scaled, drained and broken under load (root, Go; STEPS="apply scale audit")
	@tests/containers/cluster.sh $(STEPS)

fresh-test: ## make test in a Debian that has nothing but Rust, make and git (root or docker)
	@tests/containers/fresh.sh

lint: build-deps ## Formatting, clippy without a warning, shell scripts; dependencies where cargo-deny is there
	@scripts/lint.sh

fmt: ## Format the code
	@cargo fmt

deps: ## Only install what the tests need
	@scripts/install-deps.sh

build-deps:
	@scripts/install-deps.sh build
