//go:build mage

// npuw packs the weights of neural networks into files that NPUs use as they lie on disk.
package main

import (
	//mage:import
	_ "npuw/magefiles/targets"
	//mage:import
	_ "npuw/magefiles/targets/lanes"
	//mage:import
	_ "npuw/magefiles/weights"
)
