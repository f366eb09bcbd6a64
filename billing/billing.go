// Package billing knows what money is to Stripe and to customers: amounts, and who
// pays for what.
package billing

import "fmt"

// Currency is what everything is priced in.
const Currency = "usd"

// CreditMicros is what a credit costs that is bought apart from a plan.
const CreditMicros = 20_000

// Amount writes millionths of a US dollar as dollars, with as many decimals as are
// needed and four at least: "0.0200", "0.014500".
func Amount(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	whole, part := micros/1_000_000, micros%1_000_000
	if part%100 == 0 {
		return fmt.Sprintf("%s%d.%04d", sign, whole, part/100)
	}
	return fmt.Sprintf("%s%d.%06d", sign, whole, part)
}
