package idpmetadata

import "time"

// Waiting returns how many callers wait for a download or hold its document.
func (f *Fetcher) Waiting() (callers int) {
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	for _, under := range f.flights.byKey {
		callers += under.callers
	}
	return callers
}

// SetClock sets what the times of hosts are taken from.
func (f *Fetcher) SetClock(now func() time.Time) { f.hosts.now = now }
