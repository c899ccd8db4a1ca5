package pages

// Said is a text in each of the languages.
type Said [2]string

// Same is a text that is no language's: a value, a name or a code.
func Same(text string) Said { return Said{text, text} }

// Section is a part of a page below its text: a definition list, a table, or
// both, under a heading.
type Section struct {
	Heading    Said
	Paragraphs []Said
	Terms      []Term
	Table      *Table
	// Doubtful sets apart what nobody has vouched for.
	Doubtful bool
}

// Term is an entry of a definition list.
type Term struct {
	Name   Said
	Values []Value
}

// Table has a row of column headers; the first cell of each row is its header.
type Table struct {
	Head []Said
	Rows [][]Value
}

// Value is a text in a list or a cell.
type Value struct {
	Said
	// Code: it is there letter by letter, to be compared or copied.
	Code bool
	// Strong: it is what to look at.
	Strong bool
	// English: it is in English whatever the page is in, such as a line of the log.
	English bool
}

// Text is a plain value.
func Text(said Said) Value { return Value{Said: said} }

// Literal is a value of a message or of the configuration.
func Literal(text string) Value { return Value{Said: Same(text), Code: true} }

// part is a Section in one language.
type part struct {
	Heading    string
	Paragraphs []string
	Terms      []partTerm
	Head       []string
	Rows       [][]partValue
	Doubtful   bool
}

type partTerm struct {
	Name   string
	Values []partValue
}

type partValue struct {
	Text         string
	Code, Strong bool
	// Language is that of the text if the page is in another.
	Language string
}

func partsOf(sections []Section, language int) []part {
	parts := make([]part, len(sections))
	for i, s := range sections {
		parts[i] = part{Heading: s.Heading[language], Paragraphs: textsOf(s.Paragraphs, language), Doubtful: s.Doubtful}
		for _, t := range s.Terms {
			parts[i].Terms = append(parts[i].Terms, partTerm{t.Name[language], valuesOf(t.Values, language)})
		}
		if s.Table == nil {
			continue
		}
		parts[i].Head = textsOf(s.Table.Head, language)
		for _, row := range s.Table.Rows {
			parts[i].Rows = append(parts[i].Rows, valuesOf(row, language))
		}
	}
	return parts
}

func textsOf(all []Said, language int) []string {
	texts := make([]string, len(all))
	for i, said := range all {
		texts[i] = said[language]
	}
	return texts
}

func valuesOf(all []Value, language int) []partValue {
	values := make([]partValue, len(all))
	for i, v := range all {
		values[i] = partValue{Text: v.Said[language], Code: v.Code, Strong: v.Strong}
		if v.English && language != 0 {
			values[i].Language = languages[0].String()
		}
	}
	return values
}
