//! docs/CONFIGURATION.md, from the same tables that the configuration is read with.

use std::fmt::Write;

use super::connection_keys::{FOREIGN, FTP, LOCAL, Taken};
use super::environment::variable;
use super::keys::{ALL, Key, Standard};
use super::kind::Kind;
use super::properties::REFUSED;

/// The text of docs/CONFIGURATION.md.
#[must_use]
pub fn configuration_md() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## config.yaml\n\n| Key | Default | Takes | Meaning |\n|---|---|---|---|\n");
    for key in ALL {
        row(&mut out, key);
    }
    out.push_str("\nThe variable of a key, for each of them:\n\n| Key | Variable |\n|---|---|\n");
    for key in ALL {
        let _ = writeln!(out, "| `{}` | `{}` |", key.path, variable(key.path));
    }
    out.push_str(PROPERTIES);
    for (names, reason) in REFUSED {
        let _ = writeln!(out, "| {} | {reason} |", listed(names));
    }
    out.push_str(CONNECTIONS);
    for key in FTP {
        connection_row(&mut out, key);
    }
    out.push_str(LOCAL_SECTION);
    for key in LOCAL {
        connection_row(&mut out, key);
    }
    out.push_str(FOREIGN_KEYS);
    for foreign in FOREIGN {
        let taken = match foreign.taken {
            Taken::Any => "any".to_owned(),
            Taken::Only([""]) => "empty".to_owned(),
            Taken::Only(values) => listed(values),
        };
        let _ = writeln!(out, "| `{}` | {taken} | {} |", foreign.name, foreign.note);
    }
    out
}

fn row(out: &mut String, key: &Key) {
    let _ = writeln!(out, "| `{}` | {} | {} | {} |", key.path, standard(key), takes(key), cell(key.doc));
}

fn connection_row(out: &mut String, key: &Key) {
    let rclones = if key.is_rclones { "yes" } else { "" };
    let (standard, takes) = (standard(key), takes(key));
    let _ = writeln!(out, "| `{}` | {standard} | {takes} | {rclones} | {} |", key.path, cell(key.doc));
}

fn standard(key: &Key) -> String {
    match key.standard {
        Standard::Required => "required".to_owned(),
        Standard::Is(text) => format!("`{text}`"),
        Standard::Told(what) => what.to_owned(),
    }
}

fn takes(key: &Key) -> String {
    match key.kind {
        Kind::Choice { known, .. } => listed(known),
        kind => kind.describe(),
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the tables of keys in src/config. To bring it up to date:
     UPDATE_GENERATED=1 cargo test --test config -->

`ftp-pooler run` reads two files: `config/config.yaml` (or what `--config` says) and `connections.ini`
beside it (or what `--connections` says). What holds is, from the bottom up: the defaults below, the
files, the environment. `ftp-pooler check` prints what holds, without the secrets.

Every mistake in both files and the environment is reported at once, a line each, with the file, the key
and what would be right; then the exit code is 78 and nothing has been started.

**What is taken over while a pod runs**: connections.ini, the files that its keys name (`pass_file`, `tls_ca`), and that of
`api.token_file`. They are looked at every `reload.every`, and at once on SIGHUP; a mistake in them changes nothing. config.yaml and the environment,
connections' variables included, are read at the start: a change there wants a restart, and SIGHUP logs the names of such
keys. The rest is in [OPERATIONS.md](OPERATIONS.md#changing-connections).

- **Durations** are written as rclone does: `300ms`, `1m30s`, `2h`. A plain number is seconds.
- **Sizes** are written as rclone does: `64Mi`, `1.5Gi`. A plain number is bytes.
- **Truths** are `true` or `false`.

## The environment

`FTP_POOLER__` and the key, `__` for each dot: `FTP_POOLER__POOL__MAX_SESSIONS_PER_POD=50`. Upper or lower
case is the same. A list is written with commas: `FTP_POOLER__KAFKA__BOOTSTRAP_SERVERS=a:9092,b:9092`.

- **librdkafka's properties**: `_` stands for the dot: `FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD` is
  `sasl.password`.
- **ConfiguredConnections**: `FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS` is `pass` of `[remote-ftp]`. In a variable
  every character of the name that is neither letter nor digit is `_`. A name that no section has makes a
  new connection, in lower case and with `-` for `_`: `FTP_POOLER__CONNECTIONS__NEW_FTP__TYPE=ftp` and so on
  make `new-ftp`. A password from the environment overrides the file's, in whichever of the three ways
  either is given.
- A variable with this prefix that nothing knows is a mistake. Those with a single underscore, such as
  `FTP_POOLER_PORT`, are Kubernetes' and are left alone.
";

const PROPERTIES: &str = "
### kafka.properties

Any property of librdkafka's, as it names it, for producer and consumer both: SASL and TLS need nothing
else. All values are taken for secrets and are never shown.

```yaml
kafka:
  properties:
    security.protocol: sasl_ssl
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: ftp-pooler
```

These would break delivery and may not be set:

| Property | Why |
|---|---|
";

const CONNECTIONS: &str = "
## connections.ini

A section for each connection; tasks name it in `connection_id`. Values are raw, as in rclone.conf: a value
is everything behind the first `=`, without the blanks around it, and nothing in it is an escape, a quote
or a remark. Lines that begin with `#` or `;` are remarks.

### type = ftp

| Key | Default | Takes | rclone's | Meaning |
|---|---|---|---|---|
";

const LOCAL_SECTION: &str = "
### type = local

| Key | Default | Takes | rclone's | Meaning |
|---|---|---|---|---|
";

const FOREIGN_KEYS: &str = "
### Other keys of rclone's

They may stay in a section with `type = ftp` where they change nothing here; any other value is a mistake,
so that nobody relies on what does not happen. An FTP remote of rclone.conf can be taken over as it is,
but for `pass`, which is to be renamed to `obscured_pass`.

| Key | May be | Because |
|---|---|---|
";
