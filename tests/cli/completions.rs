//! What a Tab offers, as the shells' scripts ask for it, and as a real bash shows it.

use std::path::Path;
use std::process::Command;

use super::{Place, Ran, program};

const FEEDS: &str = "feeds:\n  - {name: invoices, from: 'partner:/out/', to: 'local:/in/', every: 1m}\n\
                     kafka: {input_topic: [this, is, wrong]}\n";

fn place() -> Place {
    let place = Place::new();
    place.write("config/config.yaml", FEEDS);
    place.write(
        "config/connections.ini",
        "[partner]\ntype = ftp\nhost = h\nuser = u\npass_file = /nowhere\n[parts]\ntype = ftp\n\
         [local]\ntype = local\nbase_path = /nowhere\n[way]\ntype = frp\n",
    );
    place
}

/// What is offered for the last of these words, by the protocol between script and program.
fn offered(place: &Place, shell: &str, words: &[&str]) -> Vec<String> {
    let mut command = program();
    command
        .current_dir(place.dir.path())
        .env("FTP_POOLER_COMPLETE", shell)
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .args(["--", "ftp-pooler"])
        .args(words);
    let ran = Ran::of(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
    // a description follows, for fish behind a tab and for zsh behind a colon, with which others are quoted
    let word = |line: &str| {
        let line = line.replace("\\:", "\0");
        line.split(if shell == "zsh" { ':' } else { '\t' }).next().unwrap_or_default().replace('\0', ":")
    };
    ran.stdout.lines().map(word).collect()
}

#[test]
fn the_names_of_the_configuration_are_offered_whatever_is_wrong_with_the_rest() {
    let place = place();
    for shell in ["bash", "zsh", "fish"] {
        let offered = |words: &[&str]| offered(&place, shell, words);
        assert_eq!(offered(&["submit", "par"]), ["partner:", "parts:"], "{shell}");
        assert_eq!(offered(&["submit", "local:/out", "partn"]), ["partner:"], "{shell}");
        assert_eq!(offered(&["submit", "local:/out", "loc"]), ["local:"], "{shell}");
        assert_eq!(offered(&["failures", "--connection", "p"]), ["partner", "parts"], "{shell}");
        assert_eq!(offered(&["failures", "--code", "auth"]), ["auth_failed"], "{shell}");
        assert_eq!(offered(&["feeds", "show", "inv"]), ["invoices"], "{shell}");
        assert_eq!(offered(&["import-r"]), ["import-rclone"], "{shell}");
        assert_eq!(offered(&["submit", "way"]), [""; 0], "{shell}: a tunnel is no place");
    }
    place.write("other.ini", "[elsewhere]\ntype = ftp\n");
    let named = ["submit", "--connections", "other.ini", "else"];
    assert_eq!(offered(&place, "bash", &named), ["elsewhere:"]);
    let nowhere = ["submit", "--config", "nowhere/config.yaml", "par"];
    assert_eq!(offered(&place, "bash", &nowhere), [""; 0]);
    let file = offered(&place, "bash", &["submit", "oth"]);
    assert_eq!(file, ["other.ini"], "a file of tasks may stand there, too");
}

#[test]
fn bash_completes_with_the_script_that_is_installed() {
    let place = place();
    let directory = Path::new(env!("CARGO_BIN_EXE_ftp-pooler")).parent().unwrap();
    let script = "source <(ftp-pooler completions bash)\n\
                  COMP_WORDS=(ftp-pooler submit partn); COMP_CWORD=2; COMP_TYPE=9\n\
                  $(complete -p ftp-pooler | sed 's/.*-F \\([^ ]*\\).*/\\1/') ftp-pooler partn submit 2>/dev/null\n\
                  echo \"${COMPREPLY[@]}\"";
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).env("PATH", path).current_dir(place.dir.path());
    let ran = Ran::of(&mut bash);
    assert_eq!(ran.stdout.trim_end(), "partner:", "{}", ran.stderr);
}
