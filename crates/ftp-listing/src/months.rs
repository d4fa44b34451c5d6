//! Months' names as servers write them, by language (CLDR's and glibc's abbreviations, and the full names).
//!
//! Some words are different months in different languages: `lip` is June in Croatian and July in Polish, `srp` July and
//! August in Czech. A listing is in one language, so the words of the other lines decide; if they do not, the month is
//! unknown.

const MONTHS: usize = 12;

/// Languages, each with its months from January on; `|` separates the spellings of one.
#[rustfmt::skip]
const LANGUAGES: &[[&str; MONTHS]] = &[
    // English; words that other languages share with it are found here
    ["jan|january", "feb|february", "mar|march", "apr|april", "may", "jun|june", "jul|july", "aug|august",
     "sep|sept|september", "oct|october", "nov|november", "dec|december"],
    // German
    ["jan|jän|januar|jänner", "feb|februar", "mär|mrz|märz|maerz", "apr|april", "mai", "jun|juni",
     "jul|juli", "aug|august", "sep|sept|september", "okt|oktober", "nov|november", "dez|dezember"],
    // French
    ["jan|janv|janvier", "fév|fev|févr|fevr|février|fevrier", "mar|mars", "avr|avril", "mai", "jun|juin",
     "jul|juil|juillet", "aoû|aou|août|aout", "sep|sept|septembre", "oct|octobre", "nov|novembre",
     "déc|dec|décembre|decembre"],
    // Spanish
    ["ene|enero", "feb|febrero", "mar|marzo", "abr|abril", "may|mayo", "jun|junio", "jul|julio",
     "ago|agosto", "sep|sept|set|septiembre|setiembre", "oct|octubre", "nov|noviembre", "dic|diciembre"],
    // Portuguese
    ["jan|janeiro", "fev|fevereiro", "mar|março|marco", "abr|abril", "mai|maio", "jun|junho", "jul|julho",
     "ago|agosto", "set|setembro", "out|outubro", "nov|novembro", "dez|dezembro"],
    // Italian
    ["gen|gennaio", "feb|febbraio", "mar|marzo", "apr|aprile", "mag|maggio", "giu|giugno", "lug|luglio",
     "ago|agosto", "set|settembre", "ott|ottobre", "nov|novembre", "dic|dicembre"],
    // Dutch
    ["jan|januari", "feb|februari", "mrt|maa|maart", "apr|april", "mei", "jun|juni", "jul|juli",
     "aug|augustus", "sep|september", "okt|oktober", "nov|november", "dec|december"],
    // Danish, Norwegian
    ["jan|januar", "feb|februar", "mar|mars|marts", "apr|april", "mai|maj", "jun|juni", "jul|juli",
     "aug|august", "sep|sept|september", "okt|oktober", "nov|november", "des|dec|desember|december"],
    // Swedish
    ["jan|januari", "feb|februari", "mar|mars", "apr|april", "maj", "jun|juni", "jul|juli", "aug|augusti",
     "sep|sept|september", "okt|oktober", "nov|november", "dec|december"],
    // Icelandic
    ["jan|janúar", "feb|febrúar", "mar|mars", "apr|apríl", "maí", "jún|júní", "júl|júlí", "ágú|ágúst",
     "sep|september", "okt|október", "nóv|nóvember", "des|desember"],
    // Finnish
    ["tammi|tammikuu", "helmi|helmikuu", "maalis|maaliskuu", "huhti|huhtikuu", "touko|toukokuu",
     "kesä|kesäkuu", "heinä|heinäkuu", "elo|elokuu", "syys|syyskuu", "loka|lokakuu", "marras|marraskuu",
     "joulu|joulukuu"],
    // Estonian
    ["jaan|jaanuar", "veebr|veebruar", "märts", "apr|aprill", "mai", "juuni", "juuli", "aug|august",
     "sept|september", "okt|oktoober", "nov|november", "dets|detsember"],
    // Latvian
    ["janv|janvāris", "febr|februāris", "marts", "apr|aprīlis", "mai|maijs", "jūn|jūnijs", "jūl|jūlijs",
     "aug|augusts", "sept|septembris", "okt|oktobris", "nov|novembris", "dec|decembris"],
    // Lithuanian
    ["saus|sau|sausis", "vas|vasaris", "kov|kovas", "bal|balandis", "geg|gegužė", "birž|bir|birželis",
     "liep|liepa", "rugp|rgp|rugpjūtis", "rugs|rgs|rugsėjis", "spal|spa|spalis", "lapkr|lap|lapkritis",
     "gruod|grd|gruodis"],
    // Polish
    ["sty|styczeń", "lut|luty", "mar|marzec", "kwi|kwiecień", "maj", "cze|czerwiec", "lip|lipiec",
     "sie|sierpień", "wrz|wrzesień", "paź|paz|październik", "lis|listopad", "gru|grudzień"],
    // Czech
    ["led|leden", "úno|uno|únor", "bře|bre|březen", "dub|duben", "kvě|kve|květen", "čen|cen|červen",
     "čec|cec|červenec", "srp|srpen", "zář|zar|září", "říj|rij|říjen", "lis|listopad", "pro|prosinec"],
    // Slovak
    ["jan|január", "feb|február", "mar|marec", "apr|apríl", "máj|maj", "jún|jun", "júl|jul", "aug|august",
     "sep|september", "okt|október", "nov|november", "dec|december"],
    // Hungarian
    ["jan|január", "febr|feb|február", "márc|már|marc|március", "ápr|apr|április", "máj|maj|május",
     "jún|jun|június", "júl|jul|július", "aug|augusztus", "szept|sze|szeptember", "okt|október",
     "nov|november", "dec|december"],
    // Romanian
    ["ian|ianuarie", "feb|februarie", "mar|martie", "apr|aprilie", "mai", "iun|iunie", "iul|iulie",
     "aug|august", "sep|sept|septembrie", "oct|octombrie", "nov|noi|noiembrie", "dec|decembrie"],
    // Croatian
    ["sij|siječanj", "velj|vel|veljača", "ožu|ozu|ožujak", "tra|travanj", "svi|svibanj", "lip|lipanj",
     "srp|srpanj", "kol|kolovoz", "ruj|rujan", "lis|listopad", "stu|studeni", "pro|prosinac"],
    // Slovenian, Serbian
    ["jan|januar", "feb|februar", "mar|marec|mart", "apr|april", "maj", "jun|junij|jun", "jul|julij",
     "avg|avgust", "sep|sept|september|septembar", "okt|oktober|oktobar", "nov|november|novembar",
     "dec|december|decembar"],
    // Russian
    ["янв|января|январь", "фев|февр|февраля|февраль", "мар|марта|март", "апр|апреля|апрель", "май|мая",
     "июн|июня|июнь", "июл|июля|июль", "авг|августа|август", "сен|сент|сентября|сентябрь",
     "окт|октября|октябрь", "ноя|нояб|ноября|ноябрь", "дек|декабря|декабрь"],
    // Ukrainian
    ["січ|січня", "лют|лютого", "бер|березня", "кві|квіт|квітня", "тра|трав|травня", "чер|черв|червня",
     "лип|липня", "сер|серп|серпня", "вер|вересня", "жов|жовт|жовтня", "лис|лист|листопада",
     "гру|груд|грудня"],
    // Bulgarian
    ["яну|януари", "фев|февруари", "мар|март", "апр|април", "май", "юни", "юли", "авг|август",
     "сеп|септември", "окт|октомври", "ное|ноември", "дек|декември"],
    // Greek
    ["ιαν|ιανουαρίου", "φεβ|φεβρουαρίου", "μαρ|μάρ|μαρτίου", "απρ|απριλίου", "μαΐ|μαϊ|μαΐου",
     "ιουν|ιουνίου", "ιουλ|ιουλίου", "αυγ|αύγ|αυγούστου", "σεπ|σεπτεμβρίου", "οκτ|οκτωβρίου",
     "νοε|νοεμβρίου", "δεκ|δεκεμβρίου"],
    // Turkish
    ["oca|ocak", "şub|sub|şubat", "mar|mart", "nis|nisan", "may|mayıs", "haz|haziran", "tem|temmuz",
     "ağu|agu|ağustos", "eyl|eylül", "eki|ekim", "kas|kasım", "ara|aralık"],
    // Catalan
    ["gen|gener", "feb|febr|febrer", "mar|març", "abr|abril", "mai|maig", "jun|juny", "jul|juliol",
     "ago|agost", "set|setembre", "oct|octubre", "nov|novembre", "des|desembre"],
];

/// The languages that are possible for all words of a listing so far, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Languages(u32);

impl Languages {
    pub const ALL: Languages = Languages(u32::MAX);

    /// The languages that remain if a listing has this word; all, if no language has it.
    pub fn narrowed_by(self, word: &[u8]) -> Self {
        // shared by most languages: it does not narrow them down
        if english(word).is_some() {
            return self;
        }
        let having = having(word).fold(0, |languages, (language, _)| languages | 1 << language);
        match self.0 & having {
            0 => self,
            remaining => Languages(remaining),
        }
    }

    /// The month, 1 to 12, if all of these languages that have the word agree.
    pub fn month(self, word: &[u8]) -> Option<i8> {
        // Jan, Feb, ... in any case: nearly all lines have these, and no language uses them for another month.
        if let Some(month) = english(word) {
            return Some(month);
        }
        let mut found = None;
        for (language, month) in having(word) {
            if self.0 & (1 << language) == 0 {
                continue;
            }
            if found.is_some_and(|found| found != month) {
                return None;
            }
            found = Some(month);
        }
        found
    }
}

pub fn is_known(word: &[u8]) -> bool {
    english(word).is_some() || having(word).next().is_some()
}

/// The English abbreviation of a month's number.
pub fn name_of(month: u32) -> Option<&'static [u8]> {
    const NAMES: [&str; MONTHS] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    NAMES.get(usize::try_from(month).ok()?.checked_sub(1)?).map(|name| name.as_bytes())
}

fn english(word: &[u8]) -> Option<i8> {
    let [a, b, c] = word else { return None };
    let month = match [a.to_ascii_lowercase(), b.to_ascii_lowercase(), c.to_ascii_lowercase()] {
        [b'j', b'a', b'n'] => 1,
        [b'f', b'e', b'b'] => 2,
        [b'm', b'a', b'r'] => 3,
        [b'a', b'p', b'r'] => 4,
        [b'm', b'a', b'y'] => 5,
        [b'j', b'u', b'n'] => 6,
        [b'j', b'u', b'l'] => 7,
        [b'a', b'u', b'g'] => 8,
        [b's', b'e', b'p'] => 9,
        [b'o', b'c', b't'] => 10,
        [b'n', b'o', b'v'] => 11,
        [b'd', b'e', b'c'] => 12,
        _ => return None,
    };
    Some(month)
}

/// The languages that have the word, and its month in them.
fn having(word: &[u8]) -> impl Iterator<Item = (usize, i8)> + use<> {
    let word = folded(word);
    LANGUAGES.iter().enumerate().filter_map(move |(language, months)| {
        let index = months.iter().position(|spellings| spellings.split('|').any(|one| one == word))?;
        Some((language, i8::try_from(index + 1).ok()?))
    })
}

/// In lower case, without suffixes that languages add. If it is not UTF-8 it is read as Latin-1.
fn folded(word: &[u8]) -> String {
    let end = word.iter().rposition(|byte| !matches!(byte, b'.' | b',')).map_or(0, |last| last + 1);
    let word = word.get(..end).unwrap_or_default();
    match std::str::from_utf8(word) {
        Ok(word) => word.to_lowercase(),
        Err(_) => word.iter().map(|byte| char::from(*byte)).collect::<String>().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_many_languages_are_known() {
        for (word, month) in [
            ("Jan", 1),
            ("DEC", 12),
            ("Juli,", 7),
            ("Okt.", 10),
            ("szept", 9),
            ("août", 8),
            ("MÄR", 3),
            ("фев", 2),
            ("kesä", 6),
            ("sty", 1),
            ("Şub", 2),
            ("ene", 1),
            ("Mai", 5),
        ] {
            assert_eq!(Languages::ALL.month(word.as_bytes()), Some(month), "{word}");
        }
        assert_eq!(Languages::ALL.month(b"M\xe4r"), Some(3), "Latin-1");
        assert_eq!(Languages::ALL.month(b"Jam"), None);
    }

    #[test]
    fn a_word_that_is_two_months_is_told_by_the_other_lines() {
        assert_eq!(Languages::ALL.month(b"lip"), None);
        assert_eq!(Languages::ALL.narrowed_by(b"wrz").month(b"lip"), Some(7));
        assert_eq!(Languages::ALL.narrowed_by(b"svi").month(b"lip"), Some(6));
        assert_eq!(Languages::ALL.narrowed_by("zář".as_bytes()).month(b"lis"), Some(11));
    }

    #[test]
    fn no_english_word_is_another_month_elsewhere() {
        for month in 1..=12 {
            let name = name_of(month).unwrap();
            for (language, found) in having(name) {
                assert_eq!(u32::try_from(found), Ok(month), "language {language}");
            }
        }
    }
}
