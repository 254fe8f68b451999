package load

import "fmt"

// Noise is what others took of this machine during a measurement, as shares of the time of all its CPUs. What is not known is nil: both
// where there is no /proc/stat.
type Noise struct {
	Other  *float64 `json:"other,omitempty"`  // used by other programs
	Stolen *float64 `json:"stolen,omitempty"` // kept by the hypervisor
}

// StartNoise begins to measure noise, for load that comes from elsewhere than this package, and returns a function that ends that. The
// processes, of which 0 is the calling one, are not other programs; they have to live until the end.
func StartNoise(processes ...int) (end func() Noise) {
	before := sampleProcesses(processes)
	return func() Noise {
		after := sampleProcesses(processes)
		s := spentBetween(&before, &after)
		u := s.usage(false)
		return Noise{u.other, u.steal}
	}
}

func sampleProcesses(processes []int) sample {
	s := sample{machine: readMachine(), ownOK: true}
	for _, pid := range processes {
		used, ok := processCPU(pid)
		s.own += used
		s.ownOK = s.ownOK && ok
	}
	return s
}

// Reasons says why a measurement beside so much noise is invalid, with more than 8 % for either. It returns nil if it is not.
func (n Noise) Reasons() (why []string) {
	if n.Other != nil && *n.Other > mostForeign {
		why = append(why, fmt.Sprintf("other programs used %.1f %% of the machine, more than %g %%", 100**n.Other, 100*mostForeign))
	}
	if n.Stolen != nil && *n.Stolen > mostForeign {
		why = append(why, fmt.Sprintf("the hypervisor kept %.1f %% of the machine, more than %g %%", 100**n.Stolen, 100*mostForeign))
	}
	return why
}
