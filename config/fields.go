// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-playground/validator/v10"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// checkFields holds each field of a wire form against its validate tag. The
// error is about this program, not about the file.
func (r *reader) checkFields(wire any) error {
	validate, err := newValidator()
	if err != nil {
		return fmt.Errorf("setting up validation: %w", err)
	}
	var violations validator.ValidationErrors
	if err := validate.Struct(wire); err != nil && !errors.As(err, &violations) {
		return fmt.Errorf("validating the configuration: %w", err)
	}
	for _, v := range violations {
		_, path, _ := strings.Cut(v.Namespace(), ".") // without the name of the type
		if r.isBroken(path) {
			continue
		}
		field, _ := fieldAt(reflect.TypeOf(wire), path)
		r.fault(r.locate(path), path, r.fieldMessage(path, field, v))
	}
	return nil
}

// newValidator knows our own tags, durations, and fields by their names in the
// file.
func newValidator() (*validator.Validate, error) {
	validate := validator.New(validator.WithRequiredStructEnabled())
	validate.RegisterTagNameFunc(wireName)
	validate.RegisterCustomTypeFunc(func(v reflect.Value) any {
		d, _ := v.Interface().(v1alpha1.Duration)
		return d.Duration
	}, v1alpha1.Duration{})
	var errs []error
	for _, rule := range rules() {
		errs = append(errs, validate.RegisterValidation(rule.tag, func(fl validator.FieldLevel) bool {
			return rule.holds(fl.Field().String())
		}))
	}
	return validate, errors.Join(errs...)
}

// got says what a field's value is, as the file has it when it is there.
func (r *reader) got(path string, value any) string {
	if r.isSet(path) {
		return describe(r.places[path].value)
	}
	return fmt.Sprintf("the default, %v", value)
}
