package logfilter

import (
	"encoding/json"
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maskField shortens the tokens of a log field, whatever its type.
func maskField(in zapcore.Field) zapcore.Field {
	switch in.Type {
	case zapcore.StringType:
		in.String = maskTokens(in.String)
	case zapcore.ByteStringType:
		if b, ok := in.Interface.([]byte); ok {
			in.Interface = []byte(maskTokens(string(b)))
		}
	case zapcore.BinaryType:
		// A log encoder would write it as base64, in which nobody sees a token
		// and everybody can find it.
		if b, ok := in.Interface.([]byte); ok {
			return zap.ByteString(in.Key, []byte(maskTokens(string(b))))
		}
	case zapcore.ArrayMarshalerType:
		if a, ok := in.Interface.(zapcore.ArrayMarshaler); ok {
			in.Interface = maskedArray{a}
		}
	case zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		if o, ok := in.Interface.(zapcore.ObjectMarshaler); ok {
			in.Interface = maskedObject{o}
		}
	case zapcore.StringerType:
		if s, ok := in.Interface.(fmt.Stringer); ok {
			return zap.String(in.Key, maskTokens(s.String()))
		}
	case zapcore.ErrorType:
		if err, ok := in.Interface.(error); ok {
			return zap.String(in.Key, maskTokens(err.Error()))
		}
	case zapcore.ReflectType:
		in.Interface = maskReflected(in.Interface)
	}
	return in
}

// maskReflected returns a value that is written by reflection as the JSON it
// would give, with the tokens in it shortened (a token and its short form need
// no escapes, so it stays JSON).
func maskReflected(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return "not shown: " + err.Error()
	}
	return json.RawMessage(maskTokens(string(text)))
}

// maskedArray and maskedObject put a masking encoder between a value and the
// encoder it writes itself to.
type maskedArray struct{ zapcore.ArrayMarshaler }

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (m maskedArray) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	return m.ArrayMarshaler.MarshalLogArray(arrayMasker{enc})
}

type maskedObject struct{ zapcore.ObjectMarshaler }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (m maskedObject) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	return m.ObjectMarshaler.MarshalLogObject(objectMasker{enc})
}

type arrayMasker struct{ zapcore.ArrayEncoder }

func (m arrayMasker) AppendString(s string) { m.ArrayEncoder.AppendString(maskTokens(s)) }

func (m arrayMasker) AppendByteString(b []byte) {
	m.ArrayEncoder.AppendByteString([]byte(maskTokens(string(b))))
}

func (m arrayMasker) AppendArray(a zapcore.ArrayMarshaler) error {
	return m.ArrayEncoder.AppendArray(maskedArray{a})
}

func (m arrayMasker) AppendObject(o zapcore.ObjectMarshaler) error {
	return m.ArrayEncoder.AppendObject(maskedObject{o})
}

func (m arrayMasker) AppendReflected(v any) error {
	return m.ArrayEncoder.AppendReflected(maskReflected(v))
}

type objectMasker struct{ zapcore.ObjectEncoder }

func (m objectMasker) AddString(key, s string) { m.ObjectEncoder.AddString(key, maskTokens(s)) }

func (m objectMasker) AddByteString(key string, b []byte) {
	m.ObjectEncoder.AddByteString(key, []byte(maskTokens(string(b))))
}

func (m objectMasker) AddBinary(key string, b []byte) { m.AddByteString(key, b) }

func (m objectMasker) AddArray(key string, a zapcore.ArrayMarshaler) error {
	return m.ObjectEncoder.AddArray(key, maskedArray{a})
}

func (m objectMasker) AddObject(key string, o zapcore.ObjectMarshaler) error {
	return m.ObjectEncoder.AddObject(key, maskedObject{o})
}

func (m objectMasker) AddReflected(key string, v any) error {
	return m.ObjectEncoder.AddReflected(key, maskReflected(v))
}
