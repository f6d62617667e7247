package caddymodule

import (
	"fmt"
	"reflect"

	"github.com/caddyserver/caddy/v2"
)

// replacePlaceholders replaces Caddy's placeholders, as {env.OOSE_SECRET}, in
// all texts of settings. One that is unknown or empty is an error.
func replacePlaceholders(settings any) error {
	return expand(caddy.NewReplacer(), reflect.ValueOf(settings))
}

func expand(r *caddy.Replacer, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return expand(r, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() {
				continue
			}
			if err := expand(r, v.Field(i)); err != nil {
				return fmt.Errorf("%s: %w", settingName(field), err)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := expand(r, v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			if err := expand(r, value); err != nil {
				return fmt.Errorf("%v: %w", key, err)
			}
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		s, err := r.ReplaceOrErr(v.String(), true, true)
		if err != nil {
			return fmt.Errorf("replacing placeholders: %w", err)
		}
		v.SetString(s)
	default: // numbers and switches hold none
	}
	return nil
}

// settingName is how a field is called in JSON.
func settingName(f reflect.StructField) string {
	for i, c := range f.Tag.Get("json") {
		if c == ',' {
			return f.Tag.Get("json")[:i]
		}
	}
	if tag := f.Tag.Get("json"); tag != "" {
		return tag
	}
	return f.Name
}
