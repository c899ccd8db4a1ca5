package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

// step is one of the report's lines.
type step struct {
	Number  string  `json:"step"`
	Title   string  `json:"title"`
	Result  result  `json:"result"`
	Seconds float64 `json:"seconds"`
	// Facts are what was measured, in the order in which it was.
	Facts []fact `json:"facts,omitempty"`
	// Account is of the people at work meanwhile.
	Account *traffic.Account `json:"account,omitempty"`
	// Problems say why the step failed, or was not run.
	Problems []string `json:"problems,omitempty"`
}

type fact struct {
	What  string `json:"what"`
	Value string `json:"value"`
}

type result string

const (
	passed result = "passed"
	failed result = "FAILED"
	notRun result = "NOT RUN"
)

func (s *step) fact(what, format string, args ...any) {
	s.Facts = append(s.Facts, fact{what, fmt.Sprintf(format, args...)})
}

func (s *step) problem(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// judge adds what people met.
func (s *step) judge(a traffic.Account) {
	s.Account = &a
	s.Problems = append(s.Problems, a.Problems()...)
}

// String is the step's line.
func (s *step) String() string {
	text := []string{fmt.Sprintf("%-4s %-58s %-7s %6.1f s", s.Number, s.Title, s.Result, s.Seconds)}
	for _, f := range s.Facts {
		text = append(text, f.What+" "+f.Value)
	}
	if s.Account != nil {
		text = append(text, s.Account.String())
	}
	if len(s.Problems) > 0 {
		text = append(text, "PROBLEMS: "+strings.Join(s.Problems, "; "))
	}
	return strings.Join(text, "; ")
}

// report is out/e2e.json.
type report struct {
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Result  result    `json:"result"`
	Steps   []*step   `json:"steps"`

	out io.Writer
}

// notPossible says why a step cannot be run on this cluster.
type notPossible string

func (n notPossible) Error() string { return string(n) }

// run runs a step and writes its line. A step that fails does not keep the next
// ones from being run.
func (r *report) run(ctx context.Context, number, title string, do func(context.Context, *step) error) {
	s := &step{Number: number, Title: title, Result: passed}
	r.Steps = append(r.Steps, s)
	began := time.Now()
	err := do(ctx, s)
	s.Seconds = time.Since(began).Seconds()
	if why, ok := err.(notPossible); ok { //nolint:errorlint // never wrapped
		s.Result, s.Problems = notRun, []string{string(why)}
	} else if err != nil {
		s.problem("%v", err)
	}
	if s.Result == passed && len(s.Problems) > 0 {
		s.Result = failed
	}
	_, _ = fmt.Fprintln(r.out, s)
}

// finish judges the whole and writes it to a file.
func (r *report) finish(file string) error {
	r.Seconds = time.Since(r.Began).Seconds()
	r.Result = verdict(r.Steps)
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return rig.WriteReport(file, content)
}

// verdict is passed only if every step was run and passed: one that was not run
// proves nothing.
func verdict(steps []*step) result {
	whole := passed
	for _, s := range steps {
		switch s.Result {
		case failed:
			return failed
		case notRun:
			whole = notRun
		}
	}
	if len(steps) == 0 {
		return notRun
	}
	return whole
}
